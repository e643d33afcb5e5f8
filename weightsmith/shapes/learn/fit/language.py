"""The language of hypotheses: every form of test, term and rule that the learner tries, and the one way to fill it in.

A form is text with holes for fields (`{a}`, `{b}`, …), the index of a layer (`{slot}`), how many there are of it
(`{count}`), and constants (`{v}`). Of tests it has a price: what transformers' code does often is cheap. Of two tests
that hold on the same rows the cheaper one is kept (`tests.py`), and of two terms that have the same numbers on all rows
the one that is tried first (`terms.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Priced: TypeAlias = Mapping[str, float]

# ---- tests on one field ----
NULL: Priced = {"{a} is None": 1.1, "{a} is not None": 1.0}
FLAG: Priced = {"{a}": 1.0, "not {a}": 1.0}
WORD: Priced = {"{a} == {v!r}": 1.1, "{a} != {v!r}": 1.2}
# A constant makes a test dearer by so much of its size.
CONSTANT = 0.02
NUMBER: Priced = {"{a} > {v}": 1.2, "{a} == {v}": 1.6, "{a} != {v}": 1.6, "{a} <= {v}": 1.3}
NUMBER_OR_NULL: Priced = {
    "{a} is not None and {a} > {v}": 1.7,
    "{a} == {v}": 1.6,
    "{a} != {v}": 1.6,
    "{a} is not None and {a} <= {v}": 1.8,
}

# ---- tests on two numbers ----
PAIR: Priced = {f"{{a}} {sign} {{b}}": 2.0 for sign in ("==", "!=", "<", "<=", ">", ">=")}

# ---- tests on the index of a layer, and a list with an item for each ----
ITEM_WORD: Priced = {
    "{a}[{slot}] == {v!r}": 1.0,
    "{a}[{slot}] != {v!r}": 1.05,
    "{a}[{slot} % len({a})] == {v!r}": 1.3,
    # Which one of its kind a layer is: the first few may have a block of their own, that the later ones share.
    "sum([{a}[i] == {v!r} for i in range({slot})]) == 0": 1.5,
}
ITEM_WORD_AND_NUMBER: Priced = {"sum([{a}[i] == {v!r} for i in range({slot})]) < {b}": 1.55}
NAMED: Priced = {"{slot} in {a}": 1.1, "{slot} not in {a}": 1.1}
# Where a list of sizes changes from one index to the next, forwards (from 1 on) and backwards.
ITEM_CHANGE: Priced = {
    "{a}[{slot}] != ({a}[{slot} - 1] if {slot} > 0 else 1)": 1.5,
    "{slot} > 0 and {a}[len({a}) - 1 - {slot}] != {a}[len({a}) - {slot}]": 1.6,
}

# ---- tests on the index of a layer and numbers; each is tried the other way round, too, at 0.1 more ----
OPPOSITE = 0.1
SLOT_AND_NUMBER: Priced = {
    "{slot} < {a}": 1.2,
    "{slot} <= {a}": 1.6,
    "{slot} % {a} == 0": 1.7,
    "({slot} + 1) % {a} == 0": 1.7,
}
SLOT_FROM_THE_END: Priced = {
    "{slot} < {count} - {a}": 1.5,
    "({slot} + 1) % max({count} // {a}, 1) == 0": 2.0,
}
SLOT_AND_TWO_NUMBERS: Priced = {
    "({slot} - {b}) % {a} == 0": 1.9,
    "max({slot} - {b} + 1, 0) % {a} == 0": 2.4,
}
SLOT_AND_COUNT: Priced = {"{slot} == {count} - 1": 1.8}

# ---- tests on the index of a layer alone ----
SLOT: Priced = {
    # Simpler than a period: `layer % heads == 0` says nothing else where there are more heads than layers.
    "{slot} == 0": 1.65,
    "{slot} > 0": 1.65,
    "{slot} % 2 == 0": 2.2,
    "{slot} % 2 == 1": 2.2,
    **{
        text.replace("{v}", str(v)): price
        for v in range(1, 9)
        for text, price in {"{slot} < {v}": 2.6, "{slot} >= {v}": 2.6, "{slot} == {v}": 2.8}.items()
    },
    **{
        f"{{slot}} % {period} {sign} {rest}": 3.0
        for period in range(3, 9)
        for rest in range(period)
        for sign in ("==", "!=")
    },
}

# ---- terms: what may stand in an equation beside plain products of fields; likely ones first ----
# {a} and {b} in either order.
QUOTIENTS = (
    "{a} // {b}",
    "({a} // {b} + 1) // 2",  # every second channel of a head: rotary frequencies
    "max({a} // {b}, 1)",
)
LIMITS = ("min({a}, {b})", "max({a}, {b})")
# A size, or a small multiple of it, divided by a number that the model has fixed: rounded down and up.
DIVISORS = (2, 3, 4, 8, 16, 32, 64, 128, 256)
MULTIPLES = {2: (1, 3), 3: (1, 2)}
FIXED_PARTS = ("{m} * {a} // {d}", "({m} * {a} + {d} - 1) // {d}")
# How many multiples of {b} it takes to reach a size, or two thirds of it (Llama 2), or a ratio {r} of either.
CEILING = ("({a} + {b} - 1) // {b}",)
CEILING_OF_THIRDS = ("(2 * {a} // 3 + {b} - 1) // {b}",)
CEILING_OF_SHARES = ("(int({r} * {a}) + {b} - 1) // {b}", "(int({r} * (2 * {a} // 3)) + {b} - 1) // {b}")
PART_OF_PRODUCT = ("{a} * {b} // {c}",)
FIXED_PART_OF_PRODUCT = ("{a} * {b} // 2", "{a} * {b} // 3", "{a} * {b} // 4", "{a} * {b} // 8")
# With a fraction {r}: by how much an image is folded; a share of a width, and two thirds of it in eights, as gated
# layers have (DINOv2).
FOLD = ("int(1 / {r})",)
SHARES = ("int({a} * {r})", "(2 * int({a} * {r}) // 3 + 7) // 8")

# ---- rules between the numbers, or flags, of one sub-config ----
# {a} and {b} in either order, and in the order of the alphabet.
DIVIDES = ("{a} % {b} == 0",)
SAME = ("{a} == {b}",)
EVEN = ("{a} % 2 == 0",)
IMPLIES = ("{a} or not {b}",)
EITHER = ("not ({a} and {b})", "{a} or {b}")
PRODUCT_DIVIDES = ("{a} * {b} % {c} == 0",)
SAME_PRODUCTS = ("{a} * {b} == {c} * {d}",)
SUMS = ("sum({a}) == {b}", "sum({a}) == {b} // 2")


def filled(forms: Iterable[str], **holes: object) -> Iterator[str]:
    """The texts of the forms with these in their holes."""
    return (form.format(**holes) for form in forms)


def priced(forms: Priced, more: float = 0.0, **holes: object) -> Iterator[tuple[str, float]]:
    """(text, price) of each form; more: what is in its holes costs so much."""
    return ((form.format(**holes), price + more) for form, price in forms.items())


def both_ways(tests: Iterable[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    """Each test, and the test that holds where it does not."""
    for text, price in tests:
        yield text, price
        yield _opposite(text), price + OPPOSITE


def _opposite(text: str) -> str:
    for sign, other in ((" == ", " != "), (" <= ", " > "), (" < ", " >= ")):
        if sign in text:
            return text.replace(sign, other)
    return f"not ({text})"
