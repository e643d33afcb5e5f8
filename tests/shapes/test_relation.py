"""Relations mean sets of assignments: joining, selecting and projecting them is what that does to the sets."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shapes.predicted import NO_COPIES
from tests.shapes.reference import table_of
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.expression import parse_polynomial
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.solve.candidate_values import OTHER
from weightsmith.shapes.solve.fit import fit
from weightsmith.shapes.solve.relation import Relation, Row, certain, connected, joined
from weightsmith.shapes.solve.solver import solve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.shapes.page.value import Value

FIELDS = ("a", "b", "c", "d")
DOMAIN = (1, 2, 3)
MANY = 10_000


@st.composite
def relations(draw: st.DrawFn, free: bool = True) -> Relation:
    """A relation of some fields; a row may leave one of them free."""
    fields = draw(st.sets(st.sampled_from(FIELDS), min_size=1, max_size=3))
    value = st.sampled_from(DOMAIN)
    rows = []
    for _ in range(draw(st.integers(0, 5))):
        own = {name: draw(value) for name in sorted(fields) if not free or draw(st.integers(0, 4))}
        rows.append(Row(own, float(draw(st.integers(0, 2)))))
    return Relation("sizes", frozenset(fields), tuple(rows))


def assignments(relation: Relation, over: Iterable[str] = FIELDS) -> set[tuple[Value, ...]]:
    """All assignments of the fields that go with one of the rows."""
    names = tuple(over)
    return {
        values
        for values in product(DOMAIN, repeat=len(names))
        for whole in [dict(zip(names, values, strict=True))]
        if any(all(whole.get(n, v) == v for n, v in row.values.items()) for row in relation.rows)
    }


@given(relations(), relations())
def test_a_join_goes_with_what_both_go_with(left: Relation, right: Relation) -> None:
    both = left.join(right, MANY)
    assert both.fields == left.fields | right.fields
    assert assignments(both) == assignments(left) & assignments(right)


@given(st.lists(relations(), min_size=1, max_size=4))
def test_joined_relations_share_no_field_and_say_the_same(given_: list[Relation]) -> None:
    found = joined(given_, (), MANY)
    names = [name for relation in found for name in relation.fields]
    assert len(names) == len(set(names))
    everything = set(product(DOMAIN, repeat=len(FIELDS)))
    before = everything.intersection(*map(assignments, given_))
    assert everything.intersection(*map(assignments, found)) == before


@given(relations(free=False), st.sets(st.sampled_from(FIELDS)))
def test_a_projection_keeps_what_the_other_fields_can_be(whole: Relation, fields: set[str]) -> None:
    part = whole.project(fields)
    left = sorted(whole.fields & fields)
    assert part.fields == frozenset(left)
    expected = {tuple(row.values[name] for name in left) for row in whole.rows}
    assert {tuple(row.values[name] for name in left) for row in part.rows} == expected
    assert len(part.rows) == len(expected)


@given(relations(), st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(DOMAIN)))
def test_what_is_known_leaves_the_rows_that_agree(whole: Relation, known: dict[str, Value]) -> None:
    left = whole.given(known)
    assert left.fields == whole.fields - known.keys()
    names = [name for name in FIELDS if name not in known]
    expected = {
        tuple(v for n, v in zip(FIELDS, values, strict=True) if n not in known)
        for values in assignments(whole)
        if all(dict(zip(FIELDS, values, strict=True))[n] == v for n, v in known.items())
    }
    assert assignments(left, names) == expected


@given(
    st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=3), max_size=8),
    st.lists(st.sets(st.sampled_from("abcdefghxy"), min_size=1, max_size=3), max_size=3),
)
def test_groups_are_as_small_as_shared_fields_and_ties_allow(
    items: list[set[str]], ties: list[set[str]]
) -> None:
    numbered = list(enumerate(items))
    groups = connected(numbered, lambda item: item[1], ties)
    members = [number for group in groups for number, _ in group]
    assert sorted(members) == [number for number, names in numbered if names]
    assert [group[0][0] for group in groups] == sorted(group[0][0] for group in groups)
    of = {name: place for place, group in enumerate(groups) for _, names in group for name in names}
    for group in groups:
        for _, names in group:
            assert len({of[name] for name in names}) == 1
    for tie in ties:
        assert len({of[name] for name in tie if name in of}) < 2
    # A group falls into no smaller ones: from its first item the others are reached.
    for group in groups:
        reached, left = set(group[0][1]), group[1:]
        bridges = [*ties, *(names for _, names in group)]
        while any(not bridge.isdisjoint(reached) and not bridge & of.keys() <= reached for bridge in bridges):
            reached |= {n for b in bridges if not b.isdisjoint(reached) for n in b & of.keys()}
        assert all(names <= reached for _, names in left)


def test_too_many_rows_are_no_rows_and_say_so() -> None:
    wide = [Relation.column("sizes", name, range(100)) for name in FIELDS[:2]]
    both = wide[0].join(wide[1], 1_000)
    assert (both.rows, both.closed, both.told("a")) == ((), False, ())
    assert both.gap == "more than 1,000 combinations"
    assert not both.contradictory


def test_a_field_is_certain_where_one_closed_relation_has_one_value_for_it() -> None:
    rows = (Row({"a": 1, "b": 2}), Row({"a": 1, "b": 3}))
    whole = Relation("sizes", frozenset("ab"), rows)
    assert certain([whole]) == {"a": 1}
    assert not certain([Relation("sizes", frozenset("ab"), rows, gap="given up")])
    assert not certain([Relation("sizes", frozenset("ab"), rows, open_fields={"a": "stands for others"})])
    assert not certain([Relation.of("presence", {"kind": OTHER})])
    assert not certain([Relation("sizes", frozenset("ab"), (*rows, Row({"b": 4})))])


def test_the_word_of_who_ruled_rows_out_is_kept() -> None:
    heads = Relation.column("sizes", "heads", [3, 4])
    assert heads.select(lambda row: row["heads"] == 4, "rules").witness == "sizes + rules"
    assert heads.select(lambda row: True, "rules") == heads


def test_a_gap_of_either_side_is_one_of_the_join() -> None:
    whole, given_up = Relation.column("sizes", "a", [1, 2]), Relation.column("sizes", "a", [2], "given up")
    assert whole.join(given_up, MANY).gap == given_up.join(whole, MANY).gap == "given up"


@pytest.mark.parametrize(
    ("equation", "size", "gap"),
    [
        ("(h // 16) * (k // 16)", 64 * 64, "more than 3,000 solutions"),
        ("n * m * p * q", 720_720, "given up after 6,000 assignments of sizes"),
    ],
)
def test_a_search_that_is_given_up_says_after_how_much(equation: str, size: int, gap: str) -> None:
    (found,) = solve([(parse_polynomial(equation), size)])
    assert (found.gap, found.closed) == (gap, False)
    assert all(found.told(name) == () for name in found.fields)


def test_a_field_is_decided_after_those_of_which_its_default_is_made() -> None:
    """OLMo Hybrid has as many linear key heads as heads, where nothing is stated: that tells which row is likely."""
    fields = {"dim": 7, "asked": "= heads", "heads": 12, "width": 16}
    page = parse_page(
        {
            "model_type": "x",
            "fields": fields,
            "tensors": {"a": "asked * dim", "b": "heads * width"},
            "architectures": ["X"],
        }
    )
    found = fit(page, "", table_of({"a": (240,), "b": (192,)}), Stated(None, page), NO_COPIES)
    assert found is not None
    assert (found.solution.values["asked"], found.solution.values["dim"]) == (12, 20)
