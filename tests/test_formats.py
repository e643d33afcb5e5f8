"""Figures as people read them."""

from __future__ import annotations

import pytest

from weightsmith import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.99998, "0.999980"), (1.0, "1"), (0.98765432, "0.9877"), (1234567, "1234567"), (None, "")],
)
def test_a_correlation_keeps_the_digits_that_tell_it_from_one(value: float | None, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.00123, "0.123%"), (0.25, "25.0%"), (-0.001, "-0.100%"), (None, "")]
)
def test_small_shares_get_more_decimals(share: float | None, text: str) -> None:
    assert formats.percent(share) == text
    assert formats.percent(0.25, 0) == "25%"


def test_sizes_are_decimal_for_weights_and_binary_for_memory() -> None:
    assert formats.gigabytes(33_000_000_000) == "33.0 GB"
    assert formats.gibibytes(64 << 30) == "64.0 GiB"
    assert formats.milliseconds(0.0123) == "12.30 ms"
    assert formats.significant(0.012345, 2) == "0.012"
