"""Signs of life that need no reference, of answers that read well one by one: order, prompts, scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.verify.checks import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.verify.checks import Verdict
    from weightsmith.verify.engine.engine_job import Reading
    from weightsmith.verify.measure.answers import Bond
    from weightsmith.verify.measure.health import Facts


def bond_checks(bond: Bond | None, limits: Mapping[str, float]) -> Iterator[Check]:
    """Whether answers hang on their own order, and on their prompts."""
    if bond is None:
        return
    if bond.order is not None:
        words = f"a token is {bond.order:.1f} nats likelier at its place than the answer's other tokens there"
        yield _at_least("order", bond.order, limits["order"], words)
    if bond.prompt is not None:
        words = f"a token is {bond.prompt:.1f} nats likelier behind its own prompt than behind another one"
        yield _at_least("prompted", bond.prompt, limits["prompted"], words)
    if bond.context is not None:
        words = f"a token is {bond.context:.1f} nats likelier where it stands than elsewhere behind the same token"
        yield _at_least("context", bond.context, limits["context"], words)


def reading_check(reading: Reading, facts: Facts, limits: Mapping[str, float]) -> Check:
    """Whether the model finds text that people wrote likelier than its tokens in another order.

    A model that answers facts is alive, whatever it makes of text: one that learnt nothing but answers has never been
    asked how likely a question is.
    """
    limit = limits["reading"]
    words = (
        f"a token of text that people wrote has log p {reading.natural:.2f} on average, in another order "
        f"{reading.shuffled:.2f} ({reading.tokens} tokens)"
    )
    enough = reading.gain >= limit
    _script, answered, expected = facts.best
    knows = expected > 0 and answered >= limits["facts"] * expected
    if not enough and knows:
        words += "; but it answers facts"
    verdict: Verdict = "pass" if enough or knows else "fail"
    return Check("reading", verdict, round(reading.gain, 4), limit, words)


def template_check(why: str) -> Check:
    """A template that cannot render one plain question: a server answers every chat with an error."""
    return Check(
        "chat", "inconclusive", None, None, f"the first question could not be asked as a chat: {why}"
    )


def script_check(foreign: Sequence[bool], limits: Mapping[str, float]) -> Check:
    """Whether answers are written in scripts that nobody asked in."""
    share = sum(foreign) / len(foreign)
    words = f"{sum(foreign)} of {len(foreign)} answers are in a script that no prompt has, or in five at once"
    verdict: Verdict = "pass" if share <= limits["foreign"] else "fail"
    return Check("script", verdict, round(share, 4), limits["foreign"], words)


def _at_least(name: str, value: float, limit: float, words: str) -> Check:
    return Check(name, "pass" if value >= limit else "fail", round(value, 4), limit, words)
