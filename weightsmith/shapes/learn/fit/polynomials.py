"""Fits one integer: the exact polynomial over config fields that gives it in every observation, or none.

Dimensions are multilinear with small integer coefficients in almost every model, so plain least squares finds
them, and exact arithmetic on all rows proves them. What remains is a floor, a ceiling, a minimum or a power.
An equation that the rows do not determine is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, combinations, combinations_with_replacement, permutations
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.least_squares import dense, sparse
from weightsmith.shapes.learn.fit.terms import column_of, distinct, quotients, shares
from weightsmith.shapes.page.expression import Floor, Polynomial
from weightsmith.shapes.page.field_names import At

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.shapes.learn.fit.terms import Term
    from weightsmith.shapes.page.expression import Atom, Monomial
    from weightsmith.shapes.page.value import Value

Row = tuple[Mapping[str, "Value"], int]
_MAX_MONOMIALS = 40
# So many rows often show already that no equation can tell them apart.
_SAMPLE = 100
# Sides of square patches, in pixels, that a model may have fixed.
_PATCHES = range(4, 65)
# Of the items of lists, the first few take part in floors and limits.
_MAX_ITEMS = 6


def fit_value(
    rows: Sequence[Row], fields: Sequence[str], items: Sequence[Atom] = (), *, hard: bool = True
) -> Polynomial | None:
    """The polynomial in `fields` (and list `items`) that equals every row's number; None when there is none.

    hard: floors, limits, fractions and powers are tried too, which takes about a hundred times longer.
    """
    target = [number for _, number in rows]
    if not rows or len(set(target)) == 1:
        return Polynomial.constant(target[0]) if rows else None
    plain: list[Atom] = [*sorted(fields), *items]
    sample = rows[:_SAMPLE]
    if len(rows) > 2 * _SAMPLE and _torn(
        sample, fields, {a: c for a in plain if (c := column_of(a, sample))}
    ):
        return None
    columns = {atom: column for atom in plain if (column := column_of(atom, rows)) is not None}
    if _torn(rows, fields, columns):
        return None
    atoms = [atom for atom in columns if len(set(columns[atom])) > 1]
    found = _multilinear(atoms, columns, target) if atoms else None
    if found is not None:
        return found
    # Of fields alone first, then of items of lists, too.
    single = [n for n in fields if _varies(n, rows)]
    listed = [item for item in items if isinstance(item, str) and item in atoms]
    choices = (single, [*single, *listed[:_MAX_ITEMS]])
    # A share of a width is a product, too; without it, a test would part the whole shares from the others.
    plain_shares = distinct(chain.from_iterable(shares(some, rows) for some in choices), rows)
    found = _with_any(plain_shares, atoms, columns, target)
    if found is not None or not hard:
        return found
    extras = distinct(chain.from_iterable(quotients(some, rows) for some in choices), rows)
    return (
        _powers(atoms, columns, target)
        or _grid(listed, target, rows)
        or _with_any(extras, atoms, columns, target)
    )


def _with_any(
    extras: Iterable[Term],
    atoms: Sequence[Atom],
    columns: Mapping[Atom, list[int]],
    target: list[int],
) -> Polynomial | None:
    """The equation with the first of the further terms that makes one possible."""
    found = (_with_extra(e.atom, atoms, {**columns, e.atom: e.column}, target) for e in extras)
    return next((one for one in found if one is not None), None)


def _torn(rows: Sequence[Row], fields: Iterable[str], columns: Mapping[Atom, list[int]]) -> bool:
    """Whether two rows differ in their number and in nothing that an equation could read."""
    others = [name for name in fields if name not in columns]
    seen: dict[object, int] = {}
    for place, (values, number) in enumerate(rows):
        read = *(column[place] for column in columns.values()), *(repr(values.get(name)) for name in others)
        if seen.setdefault(read, number) != number:
            return True
    return False


def _grid(items: Sequence[str], target: list[int], rows: Sequence[Row]) -> Polynomial | None:
    """`(sizes[0] // steps[0]) * (sizes[1] // steps[1])`, and a few more: the patches of an image with two sides."""
    firsts = (item.owner for item in items if isinstance(item, At) and item.place == 0)
    owners = [owner for owner in firsts if At(owner, 1) in items]
    side = {At(owner, i): Polynomial.of({(At(owner, i),): 1}) for owner in owners for i in range(2)}
    for sizes, steps in permutations(owners, 2):
        sides = [Floor(side[At(sizes, i)], side[At(steps, i)]) for i in range(2)]
        fitted = _patches(sides, target, rows)
        if fitted is not None:
            return fitted
    for sizes in owners:  # the step is the model's own: only one that alone explains the rows is taken
        fits = []
        for step in map(Polynomial.constant, _PATCHES):
            sides = [Floor(side[At(sizes, i)], step) for i in range(2)]
            fitted = _patches(sides, target, rows)
            if fitted is not None and (tuple(sides), 1) in fitted.terms:  # a position for every patch
                fits.append(fitted)
        if len(fits) == 1:
            return fits[0]
    return None


def _patches(sides: Sequence[Floor], target: list[int], rows: Sequence[Row]) -> Polynomial | None:
    """A multiple of the product of the two sides, and a constant beside it."""
    found = [column for side in sides if (column := column_of(side, rows)) is not None]
    if len(found) < len(sides):
        return None
    table: dict[Monomial, list[int]] = {
        tuple(sides): [a * b for a, b in zip(*found, strict=True)],
        (): [1] * len(target),
    }
    return sparse(table, target, 1) or sparse(table, target, 2)


def _varies(name: str, rows: Iterable[Row]) -> bool:
    seen = [values.get(name) for values, _ in rows]
    return len(set(map(repr, seen))) > 1 and all(isinstance(v, int | float) for v in seen)


def _multilinear(
    atoms: Sequence[Atom], columns: Mapping[Atom, list[int]], target: list[int]
) -> Polynomial | None:
    """One product, then two, then every product up to each degree at once."""
    monomials = [m for degree in range(5) for m in combinations(atoms, degree)][: 4 * _MAX_MONOMIALS]
    table = {m: _product(m, columns, len(target)) for m in monomials}
    for terms in (1, 2):
        found = sparse(table, target, terms)
        if found is not None:
            return found
    for degree in range(1, len(atoms) + 1):
        chosen = {m: column for m, column in table.items() if len(m) <= degree}
        if len(chosen) > _MAX_MONOMIALS:
            break
        found = dense(chosen, target)
        if found is not None:
            return found
    return sparse(dict(list(table.items())[:_MAX_MONOMIALS]), target, 3)


def _product(monomial: Monomial, columns: Mapping[Atom, list[int]], length: int) -> list[int]:
    result = [1] * length
    for atom in monomial:
        result = [a * b for a, b in zip(result, columns[atom], strict=True)]
    return result


def _with_extra(
    extra: Atom, atoms: Sequence[Atom], columns: Mapping[Atom, list[int]], target: list[int]
) -> Polynomial | None:
    around = [m for degree in range(3) for m in combinations(atoms, degree)]
    squared = [(extra, extra), *((a, extra, extra) for a in atoms)]  # (image_size // patch_size) ** 2
    monomials = [*((*m, extra) for m in around), *squared, *around]
    table = {m: _product(m, columns, len(target)) for m in monomials[: 3 * _MAX_MONOMIALS]}
    # Of three terms, one with a floor in it, every one that rows were explained by was a coincidence.
    return sparse(table, target, 1, needed=extra) or sparse(table, target, 2, needed=extra)


def _powers(atoms: Sequence[Atom], columns: Mapping[Atom, list[int]], target: list[int]) -> Polynomial | None:
    """Products with squares in them; of degree four only where one is the whole: width * merge ** 2 * frames."""
    if not atoms:
        return None
    monomials = [m for degree in range(5) for m in combinations_with_replacement(atoms, degree)]
    table = {m: _product(m, columns, len(target)) for m in monomials[: 2 * _MAX_MONOMIALS]}
    few = {m: column for m, column in table.items() if len(m) < 4}
    return sparse(table, target, 1) or sparse(few, target, 2)
