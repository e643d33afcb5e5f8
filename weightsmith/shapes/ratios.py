"""Fractions in a config (`mlp_ratio`): a rounded product fits many, so one is checked or proposed, never claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.facts import rounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.shapes.expression import Polynomial, Value
    from weightsmith.shapes.facts import Fact
    from weightsmith.shapes.stated import Stated


def settle_ratios(
    facts: Iterable[Fact],
    values: dict[str, Value],
    options: dict[str, tuple[Value, ...]],
    cheapest: dict[str, tuple[Value, ...]],
    stated: Stated,
) -> None:
    """Gives every field that only rounded products mention a value that satisfies them: the stated one if it can."""
    by_field: dict[str, list[Fact]] = {}
    for fact in facts:
        if rounds(fact.polynomial):
            unknown = [f for f in fact.polynomial.fields() if f not in values]
            for field in unknown if len(unknown) == 1 else ():
                by_field.setdefault(field, []).append(fact)
    for field, rows in by_field.items():
        if field not in stated.page.fields:
            continue
        value = next(
            (v for v in _candidates(field, rows, values, stated) if _fits(field, v, rows, values)), None
        )
        if value is not None:
            values[field] = value
            options[field] = ()
            cheapest[field] = (value,)


def _candidates(field: str, rows: list[Fact], values: Mapping[str, Value], stated: Stated) -> Iterator[Value]:
    yield stated.assumed(field, values)
    yield stated.page.fields[field].default(values)
    for row in rows:
        # One step of regula falsi is exact for a product: f(1) is the factor beside the fraction.
        factor = _at(row.polynomial, field, 1_000_000, values)
        if factor:
            exact = row.size * 1_000_000 / factor
            yield from (round(exact, digits) for digits in range(7))
            yield from ((row.size + 0.5) * 1_000_000 / factor, exact)


def _fits(field: str, value: Value, rows: Iterable[Fact], values: Mapping[str, Value]) -> bool:
    if not isinstance(value, int | float):
        return False
    return all(_at(row.polynomial, field, value, values) == row.size for row in rows)


def _at(polynomial: Polynomial, field: str, value: Value, values: Mapping[str, Value]) -> int | None:
    return polynomial.substitute({**values, field: value}).known()
