"""The equation language computes what Python computes, and refuses everything that is not an equation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightsmith.errors import InvalidPage
from weightsmith.shapes.page.expression import parse_condition, parse_polynomial
from weightsmith.shapes.page.page import parse_page

FIELDS = ["a", "b", "c", "text_config.d"]


def expressions(depth: int = 3) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(FIELDS) | st.integers(1, 9).map(str)
    return st.recursive(
        leaf,
        lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//"]), inner).map(
            lambda t: f"({' '.join(t)})"
        ),
        max_leaves=2**depth,
    )


class Config(dict[str, int]):
    """Lets Python itself read `text_config.d`."""

    @property
    def d(self) -> int:
        return self["text_config.d"]


@given(expressions(), st.lists(st.integers(1, 50), min_size=4, max_size=4))
def test_a_polynomial_computes_what_python_computes(text: str, numbers: list[int]) -> None:
    values = dict(zip(FIELDS, numbers, strict=True))
    names = {**{n: v for n, v in values.items() if "." not in n}, "text_config": Config(values)}
    try:
        expected = eval(text, {}, names)
        polynomial = parse_polynomial(text)
    except ZeroDivisionError:
        return
    assert polynomial.substitute(values).known() == expected
    partly = polynomial.substitute({"a": numbers[0]})
    assert "a" not in partly.fields()
    assert partly.substitute(values).known() == expected, (
        "substituting in two steps must not change the value"
    )


def test_what_cancels_need_not_be_known() -> None:
    twice = parse_polynomial("a * b - 2 * b + 3")
    for values, value in (({"a": 2}, 3), ({"a": 3}, None), ({"b": 0}, 3), ({}, None), ({"a": 3, "b": 4}, 7)):
        assert twice.at(values) == twice.substitute(values).known() == value


def test_products_are_written_as_products() -> None:
    assert str(parse_polynomial("num_heads * head_dim")) == "head_dim * num_heads"
    assert parse_polynomial("(heads + 2 * kv) * dim") == parse_polynomial("dim * heads + 2 * dim * kv")


@pytest.mark.parametrize("ratio", [1, 1.0, 0.5, 0.3, 0.1, 0.25, 2.0])
def test_a_quotient_by_a_fraction_is_rounded_as_python_rounds_it(ratio: float) -> None:
    polynomial = parse_polynomial("width * int(1 / ratio) ** 2")
    assert polynomial.fields() == {"width", "ratio"}
    assert polynomial.substitute({"width": 7}).fields() == {"ratio"}
    assert polynomial.substitute({"width": 7, "ratio": ratio}).known() == 7 * int(1 / ratio) ** 2
    assert str(parse_polynomial(str(polynomial))) == str(polynomial)
    with pytest.raises(InvalidPage):
        parse_polynomial("1 / ratio")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.b()",
        "a if b else c",
        "[x for x in y]",
        "a ** b",
        "1.5",
        "a @ b",
        "'a'",
        "a b",
        "",
    ],
)
def test_what_is_not_an_equation_is_refused(text: str) -> None:
    with pytest.raises(InvalidPage):
        parse_polynomial(text)


@pytest.mark.parametrize("text", ["open('x')", "(lambda: 1)()", "a.__class__()", "f'{a}'", "x := 3"])
def test_conditions_cannot_call_anything(text: str) -> None:
    with pytest.raises(InvalidPage):
        parse_condition(text)


def test_conditions_read_flags_layers_and_lists() -> None:
    condition = parse_condition("layer >= first_k and layer % freq == 0 and kinds[layer] == 'full'")
    assert condition.names == {"layer", "first_k", "freq", "kinds"}
    values = {"first_k": 1, "freq": 2, "kinds": ["full", "full", "full", "slide"]}
    assert [layer for layer in range(4) if condition.truth({**values, "layer": layer})] == [2]


def test_a_page_may_only_use_the_fields_it_declares() -> None:
    with pytest.raises(InvalidPage, match="uses width"):
        parse_page({"model_type": "x", "fields": {"size": 1}, "tensors": {"w": "size, width"}})
