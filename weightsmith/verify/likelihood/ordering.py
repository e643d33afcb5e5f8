"""In the likelihood's child: whether a model's weights lie in the order that its class expects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.behaviour_finding import WEIGHTS_ORDER, BehaviourFinding, Exclusion
from weightsmith.verify.likelihood.judge import compare, known_texts, knows, same
from weightsmith.verify.likelihood.mends import Mend
from weightsmith.verify.likelihood.siblings import silent
from weightsmith.verify.likelihood.words import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weightsmith.value_finding import Telling
    from weightsmith.verify.likelihood.judge import Scores
    from weightsmith.verify.likelihood.orders import Order
    from weightsmith.verify.likelihood.siblings import Config, Lab

AS_STORED = "as they are stored"


@dataclass(frozen=True, slots=True)
class Better:
    """An order with which known texts are likelier. mend: as a change of the setup."""

    order: Order
    mend: Mend


@dataclass(frozen=True, slots=True)
class Ordering:
    """The orders that were tried. own: of the weights as they are stored. vocabulary: the tokens that there are."""

    own: Scores
    tried: tuple[tuple[Order, Scores], ...]
    vocabulary: int

    @property
    def better(self) -> Better | None:
        """The order beside which that of the files is ruled out by most; None where it is beside none."""
        ruling = [one for one in self._beside() if one.mend.evidence.rules_out]
        return max(ruling, key=lambda one: one.mend.evidence.nats, default=None)

    @property
    def in_doubt(self) -> bool:
        """Whether some order is much better than that of the files, though not surely, and none is surely."""
        return self.better is None and any(one.mend.evidence.in_doubt for one in self._beside())

    def _beside(self) -> Iterator[Better]:
        """The orders with which the model knows the texts, and how much less likely they are in that of the files."""
        texts = self._known()
        for one, scores in self.tried:
            evidence = compare(scores, self.own, texts) if knows(scores, texts, self.vocabulary) else None
            if evidence is not None:
                yield Better(one, Mend(WEIGHTS_ORDER, one.says, evidence, scores, texts))

    def findings(self) -> Iterator[BehaviourFinding]:
        """One, where known texts say anything."""
        better = self.better
        if better is not None:
            what, evidence = better.mend.what, better.mend.evidence
            says = f"another order is meant: known texts are likelier with {what}, by {amount(evidence)}"
            yield _finding("contradicted", what, (Exclusion(AS_STORED, evidence.nats, evidence.z),), says)
            return
        texts = self._known()
        if not knows(self.own, texts, self.vocabulary):
            return
        acting = [(one, scores) for one, scores in self.tried if not same(self.own, scores, texts)]
        worse = [(one, compare(self.own, scores, texts)) for one, scores in acting]
        out = tuple(
            Exclusion(one.says, evidence.nats, evidence.z)
            for one, evidence in worse
            if evidence is not None and evidence.rules_out
        )
        if out:
            nearest = min(out, key=lambda one: one.nats)
            shown = f"{amount(nearest)} with {nearest.value}"
            yield _finding(
                "told", AS_STORED, out, f"{len(out)} of {len(acting)} other orders are ruled out: {shown}"
            )

    def _known(self) -> frozenset[str]:
        """The texts that the model knows in one of the orders."""
        return known_texts((self.own, *(scores for _, scores in self.tried)), self.vocabulary)


def ordering_of(
    lab: Lab, config: Config, own: Scores, vocabulary: int, tell: Callable[[int, int], None] = silent
) -> Ordering:
    """What a model says with its weights in other orders; in those farther off, too, where a near one is better."""
    near = Ordering(own, tuple(lab.reordered(config, own, tell)), vocabulary)
    better = near.better
    if better is None:
        return near
    farther = lab.reordered(config, better.mend.scores, tell, lambda _: better.order.farther())
    return replace(near, tried=(*near.tried, *farther))


def _finding(telling: Telling, best: str, out: tuple[Exclusion, ...], says: str) -> BehaviourFinding:
    return BehaviourFinding(WEIGHTS_ORDER, telling, AS_STORED, best, (best,), out, says, whole=False)
