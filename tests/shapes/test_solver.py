"""The solver finds every solution or says that it did not."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.shapes.page.expression import parse_polynomial
from weightsmith.shapes.solve.relation import certain
from weightsmith.shapes.solve.solver import Contradiction, solve

if TYPE_CHECKING:
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.relation import Relation

FIELDS = ("h", "k", "d", "n")
TEMPLATES = (
    "h * d", "k * d", "n", "(h + 2 * k) * d", "h * (d + n)", "h + k", "d + n", "h * n", "3 * h * d", "2 * n * k",
    "k * n + n", "d", "h // 2", "h * (n // h)", "(h // 2) * (k // 2)", "n * (d // 2)", "d - d // 2",
    "3 * k - (k + 1) // 4", "2 * n + n // 3",
)  # fmt: skip
# Python's own arithmetic is the judge of ours, and fast enough to try every assignment.
FORMULAE = {text: compile(text, text, "eval") for text in TEMPLATES}


def solved(equations: dict[str, int], **known: int) -> list[Relation]:
    return solve([(parse_polynomial(text), size) for text, size in equations.items()], known)


def all_solutions(found: list[Relation]) -> set[tuple[tuple[str, Value], ...]]:
    """The rows of all relations joined, none of which shares a field."""
    joint = product(*(relation.rows for relation in found))
    return {tuple(sorted((k, v) for row in rows for k, v in row.values.items())) for rows in joint}


def is_whole(relation: Relation) -> bool:
    """Whether there are no other rows, and no field is free in one of these."""
    return relation.closed and all(row.values.keys() == relation.fields for row in relation.rows)


@settings(deadline=None, max_examples=300)
@given(
    st.sets(st.sampled_from(TEMPLATES), min_size=1, max_size=5),
    st.lists(st.integers(1, 12), min_size=4, max_size=4),
)
def test_the_solutions_are_those_that_brute_force_finds(texts: set[str], numbers: list[int]) -> None:
    truth = dict(zip(FIELDS, numbers, strict=True))
    polynomials = {text: parse_polynomial(text) for text in sorted(texts)}
    sizes = {text: polynomial.substitute(truth).known() or 0 for text, polynomial in polynomials.items()}
    if not all(sizes.values()):
        return  # a size of zero is no size
    found = solved(sizes)
    fields = sorted({field for p in polynomials.values() for field in p.fields()})
    for field, value in certain(found).items():
        assert value == truth[field], "what is certain must be true"
    if not all(map(is_whole, found)):
        return
    top = max(sizes.values()) * 2 + 2
    if top ** len(fields) > 200_000:
        assert tuple((f, truth[f]) for f in fields) in all_solutions(found)
        return
    expected = {
        tuple(zip(fields, values, strict=True))
        for values in product(range(1, top + 1), repeat=len(fields))
        if all(eval(FORMULAE[t], {}, dict(zip(fields, values, strict=True))) == sizes[t] for t in texts)
    }
    assert all_solutions(found) == expected


def test_sizes_that_contradict_each_other_have_no_solution() -> None:
    with pytest.raises(Contradiction):
        solved({"h": 3, "h * d": 10})
    with pytest.raises(Contradiction):
        solved({"h": 3, "2 * h": 8})
    with pytest.raises(Contradiction):
        solved({"h + k": 1})


def test_an_unbounded_field_is_not_called_determined() -> None:
    found = solved({"h - k": 4})
    assert not certain(found)
    assert not any(map(is_whole, found))
    assert all(relation.told(field) == () for relation in found for field in relation.fields)


def test_a_rule_that_a_field_divides_another_spares_the_search() -> None:
    """Falcon-40B: 128 heads and 8 kv heads, head_dim only as hidden // heads."""
    polynomial = parse_polynomial("(h + 2 * k) * (n // h)")
    found = solve(
        [(polynomial, 9216), (parse_polynomial("n"), 8192)], divisors=[(parse_polynomial("n"), "h")]
    )
    (heads,) = [relation for relation in found if "h" in relation.fields]
    assert is_whole(heads)
    assert {"h": 128, "k": 8} in [row.values for row in heads.rows]


def test_a_size_that_is_rounded_up_leaves_the_values_that_round_to_it() -> None:
    """qwen3_omni: the audio tower's convolutions halve the mel bins three times, rounding up."""
    equations = [(parse_polynomial("channels"), 8), (parse_polynomial("channels * ((mels + 7) // 8)"), 48)]
    (bins,) = [relation for relation in solve(equations) if "mels" in relation.fields]
    assert sorted(bins.told("mels")) == list(range(41, 49))


def test_half_a_width_that_is_rounded_up_leaves_two_widths() -> None:
    """ESM-2 stores `head_dim - head_dim // 2` rotary frequencies, which alone tell how wide its heads are."""
    (width,) = solved({"d - d // 2": 32})
    assert set(width.told("d")) == {63, 64}


def test_the_two_sides_of_a_patch_grid_are_every_pair_that_gives_its_size() -> None:
    (grid,) = solved({"(h // 4) * (k // 2)": 6})
    assert is_whole(grid)
    sides = {(row.values["h"], row.values["k"]) for row in grid.rows}
    assert sides == {(h, k) for h in range(1, 40) for k in range(1, 40) if (h // 4) * (k // 2) == 6}


def test_a_grid_with_more_pairs_than_a_search_takes_claims_nothing_and_finds_the_stated_sides() -> None:
    equations = [(parse_polynomial("(h // 16) * (k // 16)"), 64 * 64)]
    (grid,) = solve(equations, hints={"h": 1024, "k": 1024})
    assert not grid.closed and grid.told("h") == ()
    assert {"h": 1024, "k": 1024} in [row.values for row in grid.rows]
