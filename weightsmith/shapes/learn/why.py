"""Why each build of a type was made, and what it told: `python -m weightsmith.shapes.learn --why llama`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.shapes.learn.probe.probe import Asked

# A list of layers or a dict of rotations would hide what the line is about.
_LONGEST = 100


def told_why(model_type: str) -> str:
    """One line for every probe that took a build, in their order, and how many were made for each reason.

    Learns the type. Raises Rejected when no config of it can be built, OutOfBudget where the builds do not suffice.
    """
    from weightsmith.shapes.learn import part_pages
    from weightsmith.shapes.reference import meta_models

    meta_models.prepare()
    result = part_pages.learn(model_type)
    made = f"{len(result.asked)} probes took {result.builds} builds of {model_type}"
    return "\n".join(
        [*map(_line, result.asked), f"{made}: {result.reason or 'a page'}", *_counts(result.asked)]
    )


def _line(asked: Asked) -> str:
    said = asked.probe.said
    short = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    return f"{asked.number:5} {asked.probe.why} | {short} | {asked.told}"


def _counts(asked: Sequence[Asked]) -> list[str]:
    counts = Counter(one.probe.why.partition(" the rule ")[0] for one in asked)
    return [f"{count:5} {why}" for why, count in counts.most_common()]
