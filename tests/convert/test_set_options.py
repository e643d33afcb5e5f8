"""`--set KEY=VALUE` is read as what it stands for, and what it cannot stand for is refused by its key."""

from __future__ import annotations

import pytest

from weightsmith.convert.plan.choose import built_in
from weightsmith.convert.plan.set_options import check_options, read_choice, read_number
from weightsmith.errors import ConversionRefused

LAYOUTS = ("fused", "split")


def test_what_was_not_given_is_none() -> None:
    assert read_choice({"other": "fused"}, "layout", LAYOUTS) is None
    assert read_number({}, "group_size", lambda number: True, "give a number") is None


def test_what_was_given_is_read() -> None:
    assert read_choice({"layout": "split"}, "layout", LAYOUTS) == "split"
    assert read_number({"group_size": "-1"}, "group_size", lambda number: number == -1, "give -1") == -1


@pytest.mark.parametrize("given", ["Fused", "", "fused split"])
def test_a_choice_that_there_is_not_is_refused_with_those_that_there_are(given: str) -> None:
    with pytest.raises(ConversionRefused, match=r"--set layout: .* is unknown; choose fused or split"):
        read_choice({"layout": given}, "layout", LAYOUTS)


@pytest.mark.parametrize("given", ["0", "-2", "1.5", "many", ""])
def test_a_number_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(
        ConversionRefused, match=r"--set group_size: .* is no group size; give a number, or -1"
    ):
        read_number({"group_size": given}, "group_size", lambda n: n == -1 or n > 0, "give a number, or -1")


def test_an_option_of_another_converter_names_that_one() -> None:
    """Fused weights are copied by `plain`, and `pack` belongs to another converter: the way out says to which."""
    by_name = {one.name: one for one in built_in()}
    with pytest.raises(ConversionRefused) as refused:
        check_options(by_name["plain"], {"pack": "int4"}, built_in())
    assert "plain has no such option" in str(refused.value)
    assert "--converter ternary has it" in str(refused.value)
    with pytest.raises(ConversionRefused, match=r"its options: none$"):
        check_options(by_name["plain"], {"nonsense": "1"}, built_in())
    assert check_options(by_name["ternary"], {"pack": "int4"}) is None
