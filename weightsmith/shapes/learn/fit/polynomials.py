"""Fits one integer: the exact polynomial over config fields that gives it in every observation, or none.

Dimensions are multilinear with small integer coefficients in almost every model, so plain least squares finds
them, and exact arithmetic on all rows proves them. What remains is a floor, a ceiling, a minimum or a power.
An equation that the rows do not determine is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, combinations_with_replacement, permutations
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.least_squares import dense, sparse
from weightsmith.shapes.page.expression import Floor, Item, Limit, Polynomial
from weightsmith.shapes.page.field_names import At

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    if len(rows) > 2 * _SAMPLE and _torn(sample, fields, {a: c for a in plain if (c := _column(a, sample))}):
        return None
    columns = {atom: column for atom in plain if (column := _column(atom, rows)) is not None}
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
    shares = (share for some in choices for share in _shares(some, rows))
    found = _with_any(shares, atoms, columns, target, rows)
    if found is not None or not hard:
        return found
    extras = (extra for some in choices for extra in _extra_atoms(some, rows))
    return (
        _powers(atoms, columns, target, (1, 2))
        or _grid(listed, target, rows)
        or _with_any(extras, atoms, columns, target, rows)
        or _powers(atoms, columns, target, (3,))
    )


def _with_any(
    extras: Iterable[Atom],
    atoms: Sequence[Atom],
    columns: Mapping[Atom, list[int]],
    target: list[int],
    rows: Sequence[Row],
) -> Polynomial | None:
    """The equation with the first of the further atoms that makes one possible."""
    for extra in dict.fromkeys(extras):
        column = _column(extra, rows)
        if column is None or len(set(column)) == 1:
            continue
        found = _with_extra(extra, atoms, {**columns, extra: column}, target)
        if found is not None:
            return found
    return None


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
    found = [column for side in sides if (column := _column(side, rows)) is not None]
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


def _column(atom: Atom, rows: Iterable[Row]) -> list[int] | None:
    polynomial = Polynomial.of({(atom,): 1})
    column = []
    for values, _ in rows:
        own = values.get(atom) if isinstance(atom, str) else None
        if isinstance(own, float) and own % 1:
            return None
        if isinstance(atom, Item) and (atom.index.substitute(values).known() or 0) < 0:
            return None  # an item before the first is not the last one
        try:
            number = polynomial.substitute(values).known()
        except ZeroDivisionError:
            return None
        if number is None:
            return None
        column.append(number)
    return column


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
    for terms in (1, 2):
        found = sparse(table, target, terms, needed=extra)
        if found is not None:
            return found
    few = [*(m for m in monomials if len(m) < 3), *squared[:1]]
    small = {m: table[m] for m in few if m in table}
    return sparse(small, target, 3, needed=extra)


def _powers(
    atoms: Sequence[Atom], columns: Mapping[Atom, list[int]], target: list[int], sizes: Iterable[int]
) -> Polynomial | None:
    """The fourth degree only where one product is the whole: width * merge ** 2 * frames."""
    if not atoms:
        return None
    monomials = [m for degree in range(5) for m in combinations_with_replacement(atoms, degree)]
    table = {m: _product(m, columns, len(target)) for m in monomials[: 2 * _MAX_MONOMIALS]}
    for terms in sizes:
        few = {m: column for m, column in table.items() if len(m) < 4 or terms == 1}
        found = sparse(dict(list(few.items())[:_MAX_MONOMIALS]) if terms > 2 else few, target, terms)
        if found is not None:
            return found
    return None


def _fractions(fields: Sequence[str], rows: Sequence[Row]) -> list[str]:
    return [n for n in fields if any(isinstance(v.get(n), float) for v, _ in rows)]


def _shares(fields: Sequence[str], rows: Sequence[Row]) -> Iterator[Atom]:
    """`int(width * ratio)` of the fields; two thirds of it in eights, as gated layers have (DINOv2); `int(1 / ratio)`,
    by how much an image is folded."""
    one, three, eight = map(Polynomial.constant, (1, 3, 8))
    for ratio in _fractions(fields, rows):
        yield Limit("int", (one, Polynomial.of({(ratio,): 1})))
        for a in fields:
            if a != ratio:
                share = Limit("int", (Polynomial.of({(a,): 1}).times(Polynomial.of({(ratio,): 1})),))
                yield share
                yield _up(Polynomial.of({(share,): 2}).floor_divided_by(three), eight)


def _extra_atoms(fields: Sequence[str], rows: Sequence[Row]) -> Iterator[Atom]:
    """The quotients, ceilings and limits of the fields, likely ones first."""
    one = {name: Polynomial.of({(name,): 1}) for name in fields}
    own, ratios = list(one.values()), [one[name] for name in _fractions(fields, rows)]
    yield from (Floor(a, b) for a, b in permutations(own, 2))
    for a, b in permutations(own, 2):  # every second channel of a head: rotary frequencies
        yield Floor(a.floor_divided_by(b).plus(Polynomial.constant(1)), Polynomial.constant(2))
    for a, b in permutations(own, 2):
        yield Limit("max", (a.floor_divided_by(b), Polynomial.constant(1)))
    for a, b in combinations(own, 2):
        yield Limit("min", (a, b))
        yield Limit("max", (a, b))
    yield from _fixed_parts(own)
    yield from (_up(a, b) for a, b in permutations(own, 2))
    for a, b in permutations(own, 2):
        yield from (_up(size, b) for size in _scaled_sizes(a, ratios))
    yield from _parts_of_products(own)


def _fixed_parts(sizes: Iterable[Polynomial]) -> Iterator[Atom]:
    """A size, or a small multiple of it, divided by a number that the model has fixed: rounded down and up."""
    for size in sizes:
        for divisor in (2, 3, 4, 8, 16, 32, 64, 128, 256):
            for multiple in {2: (1, 3), 3: (1, 2)}.get(divisor, (1,)):
                whole, by = size.times(Polynomial.constant(multiple)), Polynomial.constant(divisor)
                yield Floor(whole, by)
                yield Floor(whole.plus(Polynomial.constant(divisor - 1)), by)


def _parts_of_products(sizes: Sequence[Polynomial]) -> Iterator[Atom]:
    """`a * b // c`, and `a * b` divided by a number that the model has fixed."""
    for a, b in combinations(range(len(sizes)), 2):
        product = sizes[a].times(sizes[b])
        yield from (Floor(product, size) for place, size in enumerate(sizes) if place not in (a, b))
        yield from (Floor(product, Polynomial.constant(divisor)) for divisor in (2, 3, 4, 8))


def _up(size: Polynomial, multiple: Polynomial) -> Floor:
    """How many multiples it takes to reach a size."""
    return Floor(size.plus(multiple).plus(Polynomial.constant(1), -1), multiple)


def _scaled_sizes(size: Polynomial, ratios: Iterable[Polynomial]) -> Iterator[Polynomial]:
    """Sizes that are rounded up afterwards: two thirds of a gated width (Llama 2), a ratio of it, or both."""
    thirds = size.times(Polynomial.constant(2)).floor_divided_by(Polynomial.constant(3))
    yield thirds
    for ratio in ratios:
        for whole in (size, thirds):
            yield Polynomial.of({(Limit("int", (ratio.times(whole),)),): 1})
