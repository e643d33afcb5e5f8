"""In the likelihood's child: asks a model about all its settings at once, and again where one of them was wrong.

With one setting wrong, others look wrong, too. So the one that gains most is taken as it should be, and everything is
asked anew, until nothing gains. What is said in the end is said beside the best config that was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from weightsmith.verify.likelihood.judge import same
from weightsmith.verify.likelihood.questions import at_path, questions_of, with_value
from weightsmith.verify.likelihood.search import begun
from weightsmith.verify.likelihood.words import finding
from weightsmith.verify.reference.controls import NoReference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.json_value import Json
    from weightsmith.process.child import Stage
    from weightsmith.verify.likelihood.judge import Scores
    from weightsmith.verify.likelihood.questions import Path
    from weightsmith.verify.likelihood.search import Search
    from weightsmith.verify.likelihood.siblings import Lab

# Wrong settings that are looked for at most.
MOST_WRONG = 3


@dataclass(frozen=True, slots=True)
class Examination:
    """A model that is asked. general, vocabulary: see `questions_of` and `known_texts`. stage: told what begins."""

    lab: Lab
    general: Mapping[str, Json]
    vocabulary: int
    stage: Stage

    def findings(self) -> tuple[list[BehaviourFinding], Mapping[str, Json]]:
        """What known texts say of every setting that acts on them, and the best config that was found.

        Raises NoReference where the model cannot be built again from its own config.
        """
        config: Mapping[str, Json] = self.lab.config()
        mended: dict[Path, Json] = {}
        base = self._base(config)
        self._need_same(base)
        searches = self._searched(config, base, mended)
        for _ in range(MOST_WRONG):
            wrong = _worst(searches)
            if wrong is None:
                break
            path = wrong.question.path
            mended.setdefault(path, at_path(config, path))
            config = with_value(config, path, wrong.best.value)
            searches = self._searched(config, self._base(config), mended)
        return [finding(one) for one in searches if one.acts], config

    def _base(self, config: Mapping[str, Json]) -> Scores:
        (found,) = self.lab.scores([config])
        if found is None:
            raise NoReference(
                "transformers builds no model of it in which a token does not see the next ones"
            )
        return found

    def _need_same(self, base: Scores) -> None:
        """Raises NoReference unless the loaded model says what its sibling of the same config says."""
        own = self.lab.own_scores()
        if own is None or not same(own, base, self.lab.texts.keys()):
            raise NoReference("transformers does not build the same model from the settings that it has read")

    def _searched(
        self, config: Mapping[str, Json], base: Scores, mended: Mapping[Path, Json]
    ) -> list[Search]:
        """Every question with all that was worth trying, beside one config. mended: path → what stood there."""
        found = [
            begun(one, self.vocabulary, base, mended.get(one.path, one.value))
            for one in questions_of(config, self.general)
        ]
        turn = 0
        while asked := [(n, *step) for n, one in enumerate(found) for step in one.next()]:
            turn += 1
            configs = [with_value(config, found[n].question.path, value) for n, value, _ in asked]
            tell = _telling(self.stage, turn, len(mended))
            for (n, value, at), scores in zip(asked, self.lab.scores(configs, base, tell), strict=True):
                found[n] = found[n].plus(value, at, scores)
        return found


def _worst(searches: Sequence[Search]) -> Search | None:
    """The setting whose value is ruled out by most; None where none is."""
    gains = [(one.ruled_out()[0.0].nats, one) for one in searches if 0.0 in one.ruled_out()]
    return max(gains, key=lambda pair: pair[0])[1] if gains else None


def _telling(stage: Stage, turn: int, mended: int) -> Callable[[int, int], None]:
    beside = f", {mended} of them mended" if mended else ""
    return partial(stage, f"reading the texts with other settings{beside} (round {turn})")
