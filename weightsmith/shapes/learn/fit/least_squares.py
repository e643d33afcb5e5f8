"""Integer coefficients by least squares: the sum of products that gives a number in every row, exactly, or none.

A table has a column per product of atoms, and in it the product's value in every row.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Polynomial

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from weightsmith.shapes.page.expression import Atom, Monomial

    Floats = NDArray[np.float64]

# 48/1187 * vocab_size is a coincidence of few rows; real coefficients are small, or a padding or class count.
MAX_COEFFICIENT = 64
MAX_CONSTANT = 4_096
# A head width that the class has fixed is a larger factor: where so many different numbers are multiples of it.
MAX_WIDTH, _MANY = 256, 5
# So many choices of products are solved at once.
_BATCH = 4096


def dense(table: Mapping[Monomial, list[int]], target: list[int]) -> Polynomial | None:
    """Least squares over all products at once; only when the rows determine every coefficient, with one to spare."""
    import numpy as np

    matrix, scale = _scaled(table)
    if len(np.unique(matrix, axis=0)) <= len(table):
        return None
    solution, _, rank, _ = np.linalg.lstsq(matrix, np.array(target, dtype=float), rcond=1e-12)
    if rank < len(table):
        return None
    return _checked(list(table), solution / scale, table, target)


def _scaled(table: Mapping[Monomial, list[int]]) -> tuple[Floats, Floats]:
    import numpy as np

    matrix = np.array(list(table.values()), dtype=float).T
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1
    return matrix / scale, scale


def sparse(
    table: Mapping[Monomial, list[int]], target: list[int], terms: int, needed: Atom | None = None
) -> Polynomial | None:
    """The best sum of `terms` products; fewer rows suffice, because few unknowns are asked for."""
    import numpy as np

    monomials = list(table)
    if len(set(zip(*table.values(), strict=True))) < terms + 1 or len(monomials) < terms:
        return None
    matrix, scale = _scaled(table)
    wanted = np.array(target, dtype=float)
    chosen = np.array(list(combinations(range(len(monomials)), terms)))
    if needed is not None:
        having = np.array([needed in m for m in monomials])
        chosen = chosen[having[chosen].any(axis=1)]
    hits: list[tuple[list[int], Floats]] = []
    for start in range(0, len(chosen), _BATCH):
        part = chosen[start : start + _BATCH]
        columns = matrix[:, part].transpose(1, 0, 2)
        gram = np.einsum("nri,nrj->nij", columns, columns)
        right = np.einsum("nri,r->ni", columns, wanted)
        usable = np.abs(np.linalg.det(gram)) > 1e-14
        if not usable.any():
            continue
        part, columns = part[usable], columns[usable]
        answer = np.linalg.solve(gram[usable], right[usable][..., None])[..., 0]
        miss = np.abs(np.einsum("nri,ni->nr", columns, answer) - wanted).max(axis=1)
        for i in np.nonzero(miss <= 1e-4 * max(1.0, np.abs(wanted).max()))[0]:
            hits.append((part[i].tolist(), answer[i] / scale[part[i]]))
    found = [
        p
        for picks, answer in hits
        if (p := _checked([monomials[i] for i in picks], answer, table, target)) is not None
    ]
    return min(found, key=_complexity, default=None)


def _complexity(polynomial: Polynomial) -> tuple[int, int, int, int, str]:
    degrees = sum(len(m) for m, _ in polynomial.terms)
    constants = any(m == () for m, _ in polynomial.terms)
    return (
        len(polynomial.terms) + constants,
        degrees,
        sum(abs(c) for _, c in polynomial.terms),
        len(polynomial.fields()),
        str(polynomial),
    )


def _checked(
    monomials: Sequence[Monomial],
    answer: Iterable[float],
    table: Mapping[Monomial, list[int]],
    target: list[int],
) -> Polynomial | None:
    """The rounded coefficients, if they are sane and reproduce every row exactly."""
    whole = [round(float(c)) for c in answer]
    well_attested = len(monomials) == 1 and len(set(target)) >= _MANY
    largest = MAX_WIDTH if well_attested else MAX_COEFFICIENT
    for monomial, c in zip(monomials, whole, strict=True):
        if abs(c) > (largest if monomial else MAX_CONSTANT):
            return None
    for row, number in enumerate(target):
        if sum(c * table[m][row] for m, c in zip(monomials, whole, strict=True)) != number:
            return None
    return Polynomial.of({tuple(sorted(m, key=str)): c for m, c in zip(monomials, whole, strict=True)})
