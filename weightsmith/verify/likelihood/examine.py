"""In the likelihood's child: asks a model about all its settings at once, and again where one of them was wrong.

With one setting wrong, others look wrong, too, and so they do with the weights in a wrong order. So what gains most is
taken as it should be, and everything is asked anew, until nothing gains. What is said in the end is said beside the
best that was found.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from weightsmith.verify.likelihood.judge import LEAST, known_texts, same
from weightsmith.verify.likelihood.mends import Choice, Mend, qualified
from weightsmith.verify.likelihood.ordering import Ordering, ordering_of
from weightsmith.verify.likelihood.orders import orders
from weightsmith.verify.likelihood.questions import at_path, questions_of
from weightsmith.verify.likelihood.search import begun
from weightsmith.verify.likelihood.words import finding, in_words
from weightsmith.verify.reference.controls import NoReference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.json_value import Json
    from weightsmith.process.child import Stage
    from weightsmith.verify.likelihood.judge import Scores
    from weightsmith.verify.likelihood.questions import Path
    from weightsmith.verify.likelihood.search import Search
    from weightsmith.verify.likelihood.siblings import Lab
    from weightsmith.verify.likelihood.tokenized import Reading

# Wrong settings that are looked for at most.
MOST_WRONG = 3
# Tokens on which a model that knows no text shows whether anything makes it know them: that is worth nats a token.
_ENOUGH = 512


@dataclass(frozen=True, slots=True)
class Setup:
    """A model that is asked: a config for a lab. mended: path → what stood there in the file.

    order: what was said of the weights, where their order is mended. choices: the mends, by their names.
    """

    lab: Lab
    config: Mapping[str, Json]
    mended: Mapping[Path, Json] = field(default_factory=dict)
    order: tuple[BehaviourFinding, ...] = ()
    choices: Mapping[str, Choice] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Examined:
    """What known texts say beside one setup. ordering: of its weights; None where their order is mended.

    own: what the setup's model says of the texts, of all of them where others read only some.
    """

    setup: Setup
    searches: tuple[Search, ...]
    ordering: Ordering | None
    own: Scores

    def findings(self) -> list[BehaviourFinding]:
        """Of the weights' order, and of every setting that acts."""
        order = self.setup.order if self.ordering is None else self.ordering.findings()
        every = [*order, *(finding(one) for one in self.searches if one.acts)]
        return [qualified(one, self.setup.choices) for one in every]

    @property
    def in_doubt(self) -> bool:
        """Whether something is likelier than it is in the setup, or than what was mended, though not surely."""
        open_choices = any(one.instead for one in self.setup.choices.values())
        likelier = any(one.in_doubt for one in self.searches)
        return open_choices or likelier or bool(self.ordering and self.ordering.in_doubt)

    def better(self) -> Setup | None:
        """The setup with what gains most taken as it should be; None where nothing gains."""
        wrong = {one.question.name: one for one in self.searches if 0.0 in one.ruled_out()}
        order = self.ordering.better if self.ordering else None
        mends = [*map(_mend, wrong.values()), *((order.mend,) if order else ())]
        if not mends:
            return None
        choice = Choice.among(mends)
        setup = replace(self.setup, choices={choice.taken.name: choice, **self.setup.choices})
        if self.ordering and order and choice.taken is order.mend:
            lab = setup.lab.with_order(setup.config, order.order)
            return replace(setup, lab=lab, order=tuple(self.ordering.findings()))
        worst = wrong[choice.taken.name]
        path = worst.question.path
        return replace(
            setup,
            config=worst.question.changed(setup.config, worst.best.value),
            mended={path: at_path(setup.config, path), **setup.mended},
        )


@dataclass(frozen=True, slots=True)
class Examination:
    """What is asked. general, vocabulary: see `questions_of` and `known_texts`. stage: told what begins.

    within: seconds that it may take, where nothing more is asked than whether anything is better; None for the whole.
    more: texts that are read, too, where something is in doubt, and the whole is asked.
    """

    general: Mapping[str, Json]
    vocabulary: int
    stage: Stage
    within: float | None = None
    more: Mapping[str, Reading] = field(default_factory=dict)

    def of(self, lab: Lab) -> Examined:
        """A model from its own config on, beside the best setup that was found.

        Raises NoReference where the model cannot be built again from its own config, or where it would take too long.
        """
        setup = Setup(lab, lab.config())
        started = time.perf_counter()
        base = self._base(setup)
        seconds = time.perf_counter() - started
        own = lab.own_scores()
        if own is None or not same(own, base, lab.texts.keys()):
            raise NoReference("transformers does not build the same model from the settings that it has read")
        if self.within is not None:
            setup = replace(setup, lab=self._brief(lab, base))
            self._need_time(setup, seconds * _tokens(setup.lab.texts, first=True) / _tokens(lab.texts))
            read = {name: base[name] for name in setup.lab.texts}  # what the others read, too
            return replace(self._asked(setup, read), own=base)
        found = self._mended(self._asked(setup, base))
        if not self.more or not found.in_doubt:
            return found
        # What is likelier by chance is less likely on other texts; what is likelier indeed becomes sure.
        setup = replace(setup, lab=replace(lab, texts={**lab.texts, **self.more}))
        return self._mended(self._asked(setup, self._base(setup)))

    def _mended(self, found: Examined) -> Examined:
        """Beside the best setup that is found from one on."""
        for _ in range(MOST_WRONG):
            better = found.better()
            if better is None:
                break
            found = self._asked(better, self._base(better))
        return found

    def _brief(self, lab: Lab, base: Scores) -> Lab:
        """The lab with the texts that the model knows, or with few short ones where it knows none.

        Beside long texts short answers add little but noise: each is a passage of its own.
        """
        every = known_texts([base], self.vocabulary)
        known = {name for name in every if lab.texts[name].asked >= LEAST} or every
        kept = {name: one for name, one in lab.texts.items() if name in known}
        left = sorted(lab.texts.items(), key=lambda pair: pair[1].asked)
        while not known and left and sum(one.asked for one in kept.values()) < _ENOUGH:
            name, one = left.pop(0)
            kept[name] = one
        return replace(lab, brief=True, texts=kept)

    def _need_time(self, setup: Setup, seconds: float) -> None:
        """seconds: of one of the models, most of which read the first text alone."""
        asked = sum(len(one.next()) for one in self._begun(setup, {}))
        count = asked + sum(1 for _ in orders(setup.lab.loaded.model))
        if self.within is not None and count * seconds > self.within:
            raise NoReference(f"{count} other models would take about {count * seconds / 60:.0f} minutes")

    def _base(self, setup: Setup) -> Scores:
        (found,) = setup.lab.scores([setup.config])
        if found is None:
            raise NoReference(
                "transformers builds no model of it in which a token does not see the next ones"
            )
        return found

    def _asked(self, setup: Setup, base: Scores) -> Examined:
        searches = self._searched(setup, base)
        if setup.order:
            return Examined(setup, searches, None, base)
        tell = partial(self.stage, "reading the texts with the weights in other orders")
        ordering = ordering_of(setup.lab, setup.config, base, self.vocabulary, tell)
        return Examined(setup, searches, ordering, base)

    def _searched(self, setup: Setup, base: Scores) -> tuple[Search, ...]:
        """Every question with all that was worth trying."""
        config, mended = setup.config, setup.mended
        found = self._begun(setup, base)
        turn = 0
        while asked := [(n, *step) for n, one in enumerate(found) for step in one.next()]:
            turn += 1
            configs = [found[n].question.changed(config, value) for n, value, _ in asked]
            tell = _telling(self.stage, turn, len(mended))
            for (n, value, at), scores in zip(asked, setup.lab.scores(configs, base, tell), strict=True):
                found[n] = found[n].plus(value, at, scores)
        return tuple(found)

    def _begun(self, setup: Setup, base: Scores) -> list[Search]:
        """Every question, with nothing tried yet."""
        asked = questions_of(setup.config, self.general)
        if self.within is not None:
            asked = tuple(replace(one, kind="coarse") if one.kind == "dial" else one for one in asked)
        return [begun(one, self.vocabulary, base, setup.mended.get(one.path, one.value)) for one in asked]


def _tokens(texts: Mapping[str, Reading], *, first: bool = False) -> int:
    sizes = [len(one.ids) for one in texts.values()]
    return sizes[0] if first else sum(sizes)


def _mend(search: Search) -> Mend:
    """The best value of a setting, the config's value of which is ruled out."""
    best, name = search.best, search.question.name
    return Mend(name, f"{name} {in_words(best.value)}", search.ruled_out()[0.0], best.scores, search.texts)


def _telling(stage: Stage, turn: int, mended: int) -> Callable[[int, int], None]:
    beside = f", {mended} of them mended" if mended else ""
    return partial(stage, f"reading the texts with other settings{beside} (round {turn})")
