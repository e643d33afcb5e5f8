"""The atoms of equations know their parts, and a condition says when its values do not decide it."""

from __future__ import annotations

import copy
import pickle

import pytest

from tests.shapes.reference import tensor
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.given.roles import NameTable, match
from weightsmith.shapes.page.expression import Item, parse_condition, parse_polynomial
from weightsmith.shapes.page.field_names import At, Length, owner_of
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.page.value import freeze, thaw


@pytest.mark.parametrize(
    ("text", "atom"),
    [
        ("sizes.widths[3]", At("sizes.widths", 3)),
        ("widths[-1]", At("widths", -1)),
        ("len(widths)", Length("widths")),
        ("widths[layer]", Item("widths", parse_polynomial("layer"))),
        ("width // heads", None),
        ("min(width, 8 * heads)", None),
        ("int(ratio * width)", None),
    ],
)
def test_an_atom_is_parsed_once_and_spelled_as_the_page_spells_it(text: str, atom: object) -> None:
    ((found, times),) = parse_polynomial(text).terms
    assert times == 1
    assert parse_polynomial(str(found[0])) == parse_polynomial(text)
    if atom is not None:
        assert found == (atom,) and type(found[0]) is type(atom)
        assert str(found[0]) == text


def test_items_and_lengths_know_the_list_that_they_are_of() -> None:
    item, length = At("encoder.depths", 2), Length("encoder.depths")
    assert {owner_of(name) for name in (item, length, "encoder.depths")} == {"encoder.depths"}
    for name in (item, length):
        for again in (copy.deepcopy(name), pickle.loads(pickle.dumps(name))):
            assert (again, type(again), again.owner) == (name, type(name), name.owner)


def test_an_index_that_becomes_known_makes_an_item() -> None:
    (((found,), _),) = parse_polynomial("widths[layer + 1]").substitute({"layer": 2}).terms
    assert isinstance(found, At) and (found.owner, found.place) == ("widths", 3)
    assert parse_polynomial("widths[layer + 1] * len(widths)").at({"layer": 0, "widths": (4, 6)}) == 12
    assert parse_polynomial("widths[layer + 1]").at({"layer": 1, "widths": (4, 6)}) is None


@pytest.mark.parametrize(
    ("values", "truth"),
    [
        ({"layer": 1, "first": 1, "kinds": ("full", "full")}, True),
        ({"layer": 0, "first": 1}, False),  # decided without the list
        ({"layer": 1, "first": None, "kinds": ("full",)}, None),  # no order between 1 and null
        ({"layer": 1, "first": 1, "kinds": ("full",)}, None),  # beyond the list's end
        ({"layer": 1, "first": 1}, None),  # a field that is not known
        ({"layer": 1, "first": 1, "kinds": 7}, None),  # no list at all
    ],
)
def test_a_condition_holds_or_not_or_is_not_decided(values: dict[str, object], truth: bool | None) -> None:
    assert parse_condition("layer >= first and kinds[layer] == 'full'").truth(values) is truth


@pytest.mark.parametrize("text", ["width % heads == 0", "max(sizes) == 3", "sum(heads) > 1"])
def test_what_python_cannot_compute_is_not_decided(text: str) -> None:
    assert parse_condition(text).truth({"width": 8, "heads": 0, "sizes": ()}) is None


@pytest.mark.parametrize("ratio", [float("inf"), float("nan")])
def test_a_ratio_that_is_no_number_determines_no_size(ratio: float) -> None:
    assert parse_polynomial("int(ratio * width)").at({"ratio": ratio, "width": 4}) is None


def test_lists_are_frozen_where_a_config_or_a_page_is_read() -> None:
    page = parse_page(
        {
            "model_type": "x",
            "fields": {"widths": [1, 2], "kinds": "= ['a' for i in range(2)]"},
            "unverifiable": {"rope": {"sections": [8, 4]}},
        }
    )
    stated = Stated({"widths": [3, [4]]}, page)
    assert stated.value("widths") == (3, (4,))
    assert stated.value(At("widths", 1)) == (4,)
    assert stated.completed() == {"widths": (3, (4,)), "kinds": ("a", "a"), "rope": {"sections": (8, 4)}}
    assert thaw(freeze({"a": [1, [2]], "b": "text"})) == {"a": [1, [2]], "b": "text"}


def test_only_ascii_digits_are_an_index() -> None:
    """`int` reads the digits of every script; no framework writes such an index."""
    page = parse_page(
        {"model_type": "x", "fields": {"n": 1, "size": 2}, "tensors": {"h.{layer:n}.w": "size"}}
    )
    (pattern,) = page.layouts[""]
    arabic = "h.\u0661.w"  # ARABIC-INDIC DIGIT ONE
    assert name_key(arabic) == arabic
    assert pattern.regex().fullmatch("h.1.w") and not pattern.regex().fullmatch(arabic)
    assert not pattern.regex().fullmatch("h.1\u0661.w")
    matching = match([pattern], NameTable.of([tensor("h.0.w", (2,)), tensor(arabic, (2,))]))
    assert list(matching.roles[0].tensors) == [(0,)]
    assert [t.name for t in matching.unmatched] == [arabic]
