"""What all that was tried of a setting says, as a finding with a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.behaviour_finding import BehaviourFinding, Exclusion
from weightsmith.verify.likelihood.search import json_key

if TYPE_CHECKING:
    from weightsmith.json_value import Json
    from weightsmith.value_finding import Telling
    from weightsmith.verify.likelihood.judge import Evidence
    from weightsmith.verify.likelihood.search import Search, Tried

# A range of a number that is told: its ends are 2⁸ times apart at most.
_NARROW = 8.0


def finding(search: Search) -> BehaviourFinding:
    """One setting that acts. Of texts that the model does not know nothing follows."""
    allowed, out = search.allowed(), search.ruled_out()
    gone = [one for one in sorted(search.tried, key=lambda one: one.at) if one.at in out]
    wrong = next((one for one in gone if json_key(one.value) == json_key(search.stated)), None)
    telling, says = (
        _told(search, allowed, gone, out) if wrong is None else _contradiction(search, out[wrong.at])
    )
    return BehaviourFinding(
        search.question.name,
        telling,
        search.stated,
        search.best.value,
        tuple(one.value for one in allowed),
        tuple(Exclusion(one.value, out[one.at].nats, out[one.at].z) for one in gone),
        says,
        search.question.kind not in ("dial", "coarse"),
    )


def _told(
    search: Search, allowed: list[Tried], gone: list[Tried], out: dict[float, Evidence]
) -> tuple[Telling, str]:
    """Of a value that is not ruled out."""
    stated = in_words(search.stated)
    if not search.texts:
        return "not told", f"{stated} is kept: the model knows none of the texts"
    if not gone:
        return (
            "not told",
            f"{stated} is kept: nothing that was tried makes the texts much and surely less likely",
        )
    nearest = min(gone, key=lambda one: out[one.at].nats)
    effect = f"{amount(out[nearest.at])} with {in_words(nearest.value)}"
    others = [one for one in allowed if json_key(one.value) != json_key(search.stated)]
    if not others:
        return "told", f"{stated} is allowed, the others that were tried are ruled out: {effect}"
    if search.question.kind == "choice":
        return "not told", f"{stated} is allowed, so is {_listed(others)}; ruled out: {effect}"
    return _range(search, gone, effect)


def _range(search: Search, gone: list[Tried], effect: str) -> tuple[Telling, str]:
    """Of a number: what lies around the best."""
    stated = in_words(search.stated)
    below = [one for one in gone if one.at < search.best.at]
    above = [one for one in gone if one.at > search.best.at]
    if not above:
        return (
            "not told",
            f"{stated} is allowed, ruled out is all up to {in_words(below[-1].value)}: {effect}",
        )
    if not below:
        return "not told", f"{stated} is allowed, ruled out is all from {in_words(above[0].value)}: {effect}"
    ends = f"up to {in_words(below[-1].value)} and from {in_words(above[0].value)}"
    near = above[0].at - below[-1].at <= _NARROW
    return ("told" if near else "not told"), f"{stated} is allowed, ruled out is all {ends}: {effect}"


def _contradiction(search: Search, evidence: Evidence) -> tuple[Telling, str]:
    allowed, best, effect = search.allowed(), in_words(search.best.value), amount(evidence)
    says = f"{in_words(search.stated)} is ruled out: known texts are likelier with {best}, by {effect}"
    return "contradicted", f"{says} (allowed: {_listed(allowed)})" if len(allowed) > 1 else says


def amount(evidence: Evidence | Exclusion) -> str:
    """How much less likely, in words."""
    return f"{evidence.nats:.2f} nats a token, {evidence.z:.1f} standard errors"


def _listed(tried: list[Tried]) -> str:
    """Numbers as the range in which they lie, anything else in its order."""
    values = [one.value for one in tried]
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) == len(values) and len(values) > 1:
        return f"{in_words(min(numbers))} to {in_words(max(numbers))}"
    return ", ".join(map(in_words, values))


def in_words(value: Json) -> str:
    """Of rotary scaling, its kind and factor alone: longrope has lists of factors."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return " ".join(str(value[name]) for name in ("rope_type", "factor") if name in value)
    return value if isinstance(value, str) else json.dumps(value)
