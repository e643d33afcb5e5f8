"""Shapes that follow different equations in different places: found piece by piece, then told apart by a condition.

A seed is one cell of one config together with the same cell where single sizes were changed: there no flag, list or
layer moves, so one equation must hold. What an equation explains beyond its seed is its piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.check import gives, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from weightsmith.shapes.learn.fit.check import ShapeRow
    from weightsmith.shapes.learn.fit.conditions import Row
    from weightsmith.shapes.learn.fit.equation import Axes, ShapeVariant
    from weightsmith.shapes.page.predict import Indices

    FitShape = Callable[[Sequence[ShapeRow], bool], Axes | None]

MAX_PIECES = 4
MAX_SEEDS = 48
# Fewer cells do not say what moves a shape and what does not.
MIN_SEED = 4


@dataclass(frozen=True, slots=True)
class _Piece:
    axes: Axes
    rows: frozenset[int]


def seeds(
    families: Iterable[Sequence[int]], cells: Sequence[Mapping[Indices, ShapeRow]]
) -> list[list[ShapeRow]]:
    """One seed per origin and cell; of those with the same shapes in every member only the first.

    families: places of an origin and its children among the observations. cells: what each observation has where.
    """
    found: dict[object, list[ShapeRow]] = {}
    for number, family in enumerate(families):
        for at in cells[family[0]]:
            members = [cells[place][at] for place in family if at in cells[place]]
            found.setdefault((number, tuple(shape for _, shape in members)), members)
    return sorted((s for s in found.values() if len(s) >= MIN_SEED), key=len, reverse=True)


def moved_within(seed: Sequence[ShapeRow]) -> dict[int, set[str]]:
    """Per axis, the fields whose change moved it, from the seed's first cell to another one."""
    (values, shape), *others = seed
    moved: dict[int, set[str]] = {}
    for own, size in others:
        changed = {name for name, value in own.items() if value != values.get(name)}
        for axis in range(max(len(shape), len(size))):
            if len(shape) != len(size) or shape[axis] != size[axis]:
                moved.setdefault(axis, set()).update(changed)
    return moved


def in_pieces(
    rows: Sequence[ShapeRow],
    seeds: Iterable[Sequence[ShapeRow]],
    fit: FitShape,
    fit_rest: FitShape,
    condition: Callable[[Sequence[Row]], str | None],
) -> list[ShapeVariant] | None:
    """(axes, test) of every piece, the last without a test; None when they do not explain every row.

    rows: every cell with its values and shape. fit: an equation for a seed (True: a hard one); fit_rest: for rows
    of any origin. condition: the test that tells labelled rows apart.
    """
    varied = {
        axis for axis in range(len(rows[0][1])) if len({shape[axis : axis + 1] for _, shape in rows}) > 1
    }
    moving = [seed for seed in seeds if varied <= moved_within(seed).keys()]
    pieces = _cover(rows, moving[:MAX_SEEDS], fit, fit_rest)
    if pieces is None or len(pieces) < 2:
        return None
    found: list[ShapeVariant] = []
    # The rarest first: what is special has the test, what is usual is the rest.
    pieces.sort(key=lambda piece: len(piece.rows))
    left = set(range(len(rows)))
    for place, piece in enumerate(pieces[:-1]):
        others = frozenset().union(*(other.rows for other in pieces[place + 1 :]))
        telling = [(rows[i][0], i in piece.rows) for i in left if (i in piece.rows) != (i in others)]
        test = condition(telling)
        if not test:
            return None
        found.append((piece.axes, test))
        inside, _ = split(test, [(rows[i][0], i) for i in left])
        taken = {i for _, i in inside}
        if not taken <= piece.rows:
            return None
        left -= taken
    if not left <= pieces[-1].rows:
        return None
    return [*found, (pieces[-1].axes, "")]


def _cover(
    rows: Sequence[ShapeRow],
    seeds: Sequence[Sequence[ShapeRow]],
    fit: FitShape,
    fit_rest: FitShape,
) -> list[_Piece] | None:
    """Equations that together explain every row; each time the one that explains most of the rest is taken."""
    number = {id(values): i for i, (values, _) in enumerate(rows)}
    places = [frozenset(number[id(values)] for values, _ in seed if id(values) in number) for seed in seeds]
    tried: dict[int, _Piece | None] = {}
    chosen: list[_Piece] = []
    left = set(range(len(rows)))
    for hard in (False, True):
        tried = {at: piece for at, piece in tried.items() if piece is not None}
        while left and len(chosen) < MAX_PIECES:
            for at, seed in enumerate(seeds):
                if at not in tried and places[at] & left:
                    tried[at] = _piece(rows, fit(seed, hard))
            best = max((p for p in tried.values() if p), key=lambda p: len(p.rows & left), default=None)
            if best is None or not best.rows & left:
                # No seed lies there: what is left may be of one kind all the same.
                rest = [rows[i] for i in sorted(left)]
                best = _piece(rows, fit_rest(rest, hard)) if len(rest) >= MIN_SEED else None
            if best is None or not left & best.rows:
                break
            chosen.append(best)
            left -= best.rows
    return None if left else chosen


def _piece(rows: Sequence[ShapeRow], axes: Axes | None) -> _Piece | None:
    if axes is None:
        return None
    return _Piece(axes, frozenset(i for i, row in enumerate(rows) if gives([(axes, "")], [row])))
