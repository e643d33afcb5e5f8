"""The values worth trying for a field that conditions read: enough of them that none stands for a guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.shapes.page.condition_uses import Reading
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.observations import Observation


@dataclass(frozen=True, slots=True)
class Other:
    """Stands for every word or number that no condition names, so that none of them is claimed."""

    def __repr__(self) -> str:
        return "another value"


OTHER = cast("Value", Other())  # tried like a value, and never the value of a config


def domain(
    field: str,
    page: Page,
    reading: Reading,
    group: Iterable[Observation],
    assumed: Value,
    numbers: Iterable[int],
) -> list[Value]:
    """Every value of `field` that could make a difference, the assumed one first.

    assumed: what a loader would take. numbers: what else the field may be compared with (known fields).
    """
    default, computed = page.fields[field].value, page.fields[field].expression is not None
    constants = sorted((c for c in reading.constants if not isinstance(c, bool)), key=str)
    words = [c for c in constants if isinstance(c, str)]
    if isinstance(default, bool) or isinstance(assumed, bool):
        # A word that a class takes for true makes the same model, so that the flag is not forced.
        return distinct([v for v in (assumed, default) if v is not None] + [False, True, *words])
    choices = choices_of(page, field)
    if any(isinstance(v, str) for v in (*words, *choices, default, assumed)):
        own = [v for v in (assumed, default) if isinstance(v, str)]
        rest = list(choices) if choices else [*words, OTHER]
        return distinct([*own, *([None] if reading.optional else []), *rest])
    values: list[Value] = [assumed]
    if reading.optional or (default is None and not computed):
        values.append(None)  # where a default is computed, null stands for that one
    values += [default] if not computed else []
    concerned = [seen for seen in group if field in seen.fields()]
    values += _edges(field, reading, concerned, numbers)
    if not (_negative(assumed) or _negative(default)):
        values = [v for v in values if not _negative(v)]
    # Two numbers beyond every boundary: what only they explain is never one claimed value.
    beyond = max((v for v in values if isinstance(v, int)), default=0)
    return distinct([*values, beyond + 1, beyond + 2])


def _edges(
    field: str, reading: Reading, concerned: Sequence[Observation], numbers: Iterable[int]
) -> list[int]:
    """Numbers at which a condition may change: each index that was seen, sizes, constants, and what lies beside them.

    concerned: the observations that read the field. numbers: as for `domain`.
    """
    if reading.only_tested and not any(
        field in count.fields() for seen in concerned for count in seen.counts
    ):
        return [0]
    edge = max((size for seen in concerned for size in seen.sizes), default=0)
    near = {c + step for c in (*reading.constants, *numbers) if type(c) is int for step in (-1, 0, 1)}
    walked = {index for seen in concerned for indices in seen.indices for index in indices}
    return [
        *sorted({step for index in walked for step in (index, index + 1)} | {0, edge, edge + 1}),
        *sorted(near),
    ]


def kinds(field: str, page: Page, reading: Reading, stated: Value) -> list[Value]:
    """The values worth trying for one element of a list field."""
    if reading.members and not reading.indexed:
        return [False, True]
    default = page.fields[field].value
    if page.fields[field].expression is not None:
        default = tuple(
            c for c in choices_of(page, field) if repr(c) in (page.fields[field].expression or "")
        )
    own = [item for items in (stated, default) if isinstance(items, tuple) for item in items]
    choices = choices_of(page, field)
    constants = sorted(reading.constants, key=str)
    if any(isinstance(v, str) for v in (*own, *constants)):
        own = [v for v in own if isinstance(v, str)]
        # Kinds that the file or the class itself uses come first: of equal explanations the first is taken.
        return distinct([*own, *(choices or [*constants, OTHER])])
    if not constants and all(isinstance(v, bool | int) and v in (0, 1) for v in own):
        return [0, 1]
    return distinct(
        [*constants, *own, *(c + s for c in constants if isinstance(c, int) for s in (-1, 1)), OTHER]
    )


def choices_of(page: Page, field: str) -> Sequence[Value]:
    """All values that the implementation accepts, where the page knows them."""
    return page.choices.get(field, ())


def _negative(value: Value) -> bool:
    return isinstance(value, int) and value < 0


def distinct(values: Iterable[Value]) -> list[Value]:
    """In order, each once; 0 and False, 1 and True are different values."""
    kept: dict[tuple[type, Value], Value] = {}
    for value in values:
        kept.setdefault((type(value), value), value)
    return list(kept.values())
