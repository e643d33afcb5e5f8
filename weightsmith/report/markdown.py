"""Markdown tables whose cells cannot break them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def number(value: Any) -> str:
    """A figure in as many digits as it deserves; nothing for None."""
    if isinstance(value, float):
        # Correlations live between 0.99 and 1, where four digits would call them all 1.
        return f"{value:.6f}" if 0.99 < value < 1 else f"{value:.4g}"
    return "" if value is None else str(value)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Header, rule and rows."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    """One cell: on one line and without a bar that would end it."""
    text = "" if value is None else str(value)
    return text.replace("\n", "⏎").replace("\r", "").replace("|", "\\|")
