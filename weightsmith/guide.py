"""Where the pages of docs/ lie: in an installed package they come along, in a working tree they lie beside it."""

from __future__ import annotations

from pathlib import Path

_PLACES = (Path(__file__).parent / "docs", Path(__file__).parent.parent / "docs")


def guide(page: str) -> str:
    """The path of a page (`verify.md`), which a message can point to."""
    return next((str(place / page) for place in _PLACES if (place / page).is_file()), f"docs/{page}")
