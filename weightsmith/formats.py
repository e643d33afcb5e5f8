"""Figures as people read and write them: one way for each kind."""

from __future__ import annotations

import re

# Decimal units as in huggingface_hub's parse_size_to_int; binary ones because people write them.
_UNITS = {"": 1, "B": 1, **{f"{letter}B": 1000**n for n, letter in enumerate("KMGT", 1)},
          **{f"{letter}IB": 1024**n for n, letter in enumerate("KMGT", 1)}}  # fmt: skip

_DIGITS = 40  # more is no memory of anything, and in the end no number


def bytes_of(size: str) -> float | None:
    """Bytes of `48.62GiB`, `80 GB`, `1024`; None for what is no size."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", size)
    unit = _UNITS.get(found[2].upper()) if found else None
    return None if found is None or unit is None or len(found[1]) > _DIGITS else float(found[1]) * unit


def number(value: object) -> str:
    """A figure in a table: four digits, or six decimals between 0.99 and 1; nothing for None."""
    if isinstance(value, float):
        # Correlations live between 0.99 and 1, where four digits would call them all 1.
        return f"{value:.6f}" if 0.99 < value < 1 else f"{value:.4g}"
    return "" if value is None else str(value)


def significant(value: float, digits: int = 3) -> str:
    """A figure in a sentence, in so many significant digits."""
    return f"{value:.{digits}g}"


def percent(share: float | None, decimals: int | None = None) -> str:
    """A share of 0 to 1 in percent; nothing for None. decimals: None gives three below one percent, else one."""
    if share is None:
        return ""
    if decimals is None:
        decimals = 3 if abs(share) < 0.01 else 1
    return f"{share:.{decimals}%}"


def gigabytes(nbytes: float) -> str:
    """Decimal gigabytes, as disks and weights are measured."""
    return f"{nbytes / 1e9:.1f} GB"


def gibibytes(nbytes: float, decimals: int = 1) -> str:
    """Binary gigabytes, as memory is measured."""
    return f"{nbytes / 2**30:.{decimals}f} GiB"


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with two decimals."""
    return f"{seconds * 1000:.2f} ms"
