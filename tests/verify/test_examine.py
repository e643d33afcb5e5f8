"""What is examined, what is taken for the fault, and what is named beside it: on scores of which the truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from tests.verify.test_likelihood import TOKENS, VOCABULARY, dial, noise, searched
from weightsmith.behaviour_finding import WEIGHTS_ORDER
from weightsmith.verify.likelihood.examine import Examination
from weightsmith.verify.likelihood.judge import compare
from weightsmith.verify.likelihood.mends import Choice, Mend
from weightsmith.verify.likelihood.ordering import Ordering
from weightsmith.verify.likelihood.orders import Order
from weightsmith.verify.likelihood.search import begun
from weightsmith.verify.likelihood.siblings import Lab
from weightsmith.verify.likelihood.tokenized import Reading
from weightsmith.verify.likelihood.words import finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.verify.likelihood.judge import Scores

GENERAL: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class KnownWorld(Lab):
    """A lab whose models lose what a function of their config says, and a text is 150 tokens long.

    read: the texts of each call, as it came.
    """

    stated: Mapping[str, Any] = field(default_factory=dict)
    lost: Callable[[Mapping[str, Any]], float] = lambda _: 0.0
    spread: float = 0.2
    read: list[frozenset[str]] = field(default_factory=list)

    def config(self) -> dict[str, Any]:
        return dict(self.stated)

    def own_scores(self) -> Scores:
        return self._said(self.stated)

    def scores(self, configs: Any, beside: Any = None, tell: Any = None) -> list[Scores | None]:
        self.read.append(frozenset(self.texts))
        return [self._said(one) for one in configs]

    def reordered(self, *_: Any, **__: Any) -> Iterator[tuple[Order, Scores]]:
        return iter(())

    def _said(self, config: Mapping[str, Any]) -> Scores:
        return {
            name: noise(n)[:, :150] - np.float32(self.lost(config)) * self._rough(n)
            for n, name in enumerate(self.texts)
        }

    def _rough(self, seed: int) -> NDArray[np.float32]:
        draw = np.random.default_rng([seed, 5]).normal(1.0, 100 * self.spread, 150)
        return cast("NDArray[np.float32]", draw.astype(np.float32))


def lab(stated: Mapping[str, Any], lost: Callable[[Mapping[str, Any]], float], spread: float) -> KnownWorld:
    texts = {"a": Reading((), (), 0)}
    return KnownWorld(cast("Any", None), texts, stated=stated, lost=lost, spread=spread)


def examined(known: KnownWorld, texts: int) -> dict[str, BehaviourFinding]:
    more = {f"more {n}": Reading((), (), 0) for n in range(texts)}
    asking = Examination(GENERAL, VOCABULARY, lambda *_: None, more=more)
    return {one.name: one for one in asking.of(known).findings()}


def off(name: str, true: float, config: Mapping[str, Any]) -> float:
    return 0.1 * abs(math.log2(config[name] / true))


@pytest.mark.parametrize("texts", [0, 15])
def test_what_is_in_doubt_is_asked_of_more_texts(texts: int) -> None:
    """A setting three octaves off costs 0.3 nats: two standard errors of one text, and eight of sixteen."""
    wrong = lab({"rope_theta": 80_000.0}, partial(off, "rope_theta", 1e4), spread=0.045)
    found = examined(wrong, texts)["rope_theta"]
    assert found.telling == ("contradicted" if texts else "not told")


def test_where_nothing_is_in_doubt_no_more_is_read() -> None:
    sound = lab({"rope_theta": 1e4}, partial(off, "rope_theta", 1e4), spread=0.001)
    assert examined(sound, 15)["rope_theta"].telling == "told"
    assert set(sound.read) == {frozenset("a")}


@pytest.mark.parametrize(
    ("nats", "rough", "doubt"), [(0.1, 0.9, True), (0.1, 0.1, False), (0.02, 0.2, False)]
)
def test_what_is_much_likelier_and_not_surely_is_in_doubt(nats: float, rough: float, doubt: bool) -> None:
    """Two standard errors; twenty; and two of an effect that is too small to matter."""
    own, other = {"text": noise(1)}, {"text": noise(1) + centred(nats, rough)}
    search = searched(dial(1e4), lambda value: own if value == 1e4 else None)
    assert search.plus(2e4, 1.0, other).in_doubt == doubt
    order = Order("", {})
    assert Ordering(own, ((order, other),), VOCABULARY).in_doubt == doubt
    sure = {"text": noise(1) + centred(0.2, 0.1)}
    assert not Ordering(own, ((order, other), (order, sure)), VOCABULARY).in_doubt


def centred(nats: float, rough: float, seed: int = 2) -> NDArray[np.float32]:
    """What tokens gain: this much in the mean."""
    draw = np.random.default_rng(seed).normal(0.0, rough, TOKENS)
    return cast("NDArray[np.float32]", (draw - draw.mean() + nats).astype(np.float32))


def test_two_settings_that_mend_the_same_are_both_named() -> None:
    """Half the one is as good as twice the other: nobody can say which of them is wrong."""

    def lost(config: Mapping[str, Any]) -> float:
        return 0.2 * abs(math.log2(config["embedding_multiplier"] / config["residual_multiplier"] / 4))

    found = examined(lab({"embedding_multiplier": 64.0, "residual_multiplier": 2.0}, lost, 0.001), 0)
    told = {one.telling for one in found.values()}
    assert told == {"contradicted", "not told"}
    (taken,) = (one for one in found.values() if one.telling == "contradicted")
    (other,) = (one for one in found.values() if one.telling != "contradicted")
    assert [one.split()[0] for one in taken.instead] == [other.name]
    assert f"as likely with {taken.instead[0]} instead" in taken.says
    assert f"mended with {taken.name}" in other.says


def test_of_two_wrong_settings_each_is_told_alone() -> None:
    def lost(config: Mapping[str, Any]) -> float:
        return off("rope_theta", 1e4, config) + off("embedding_multiplier", 12.0, config)

    found = examined(lab({"rope_theta": 1e6, "embedding_multiplier": 1.5}, lost, 0.001), 0)
    assert {name: one.telling for name, one in found.items()} == dict.fromkeys(found, "contradicted")
    assert {one.instead for one in found.values()} == {()}


def test_beside_the_change_that_gains_most_those_stand_that_it_does_not_rule_out() -> None:
    def mend(name: str, nats: float, rough: float) -> Mend:
        scores = {"a": noise(1) + centred(nats, rough, len(name))}
        evidence = compare(scores, {"a": noise(1)}, ["a"])
        assert evidence is not None
        return Mend(name, f"{name} 1", evidence, scores, frozenset("a"))

    rough, sure, less = mend(WEIGHTS_ORDER, 0.3, 1.0), mend("scale", 0.2, 0.2), mend("theta", -0.5, 0.1)
    choice = Choice.among([rough, sure, less])
    assert choice.taken is rough
    assert choice.instead == (sure,)


def test_what_was_ruled_out_beside_the_mend_stays_so_beside_a_little_better() -> None:
    """A step farther is a little likelier still, and too rough to rule anything out by itself."""
    mended = {"text": noise(1)}
    search = begun(dial(412.0), VOCABULARY, mended, stated=825.0)
    search = search.plus(825.0, 1.0, {"text": noise(1) - np.float32(0.06)})
    search = search.plus(206.0, -1.0, {"text": noise(1) + centred(0.01, 1.5)})
    assert search.best.value == 206.0
    evidence = compare(search.best.scores, search.tried[1].scores, search.texts)
    assert evidence is not None
    assert not evidence.rules_out
    assert finding(search).telling == "contradicted"
