"""The folder under the user's cache that is ours: for what is worth keeping and costs nothing to lose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def user_cache(environment: Mapping[str, str] = os.environ) -> Path | None:
    """By the XDG rule that a relative XDG_CACHE_HOME does not count; None without any home. It need not be there."""
    named = Path(environment.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "weightsmith"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ".cache" / "weightsmith" if home.is_absolute() else None
