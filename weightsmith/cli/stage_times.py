"""How long each stage of a command took last time: a small file in the user's cache, on which nothing depends.

What cannot be read is not known, and what cannot be written is not kept.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from weightsmith.errors import WeightsmithError
from weightsmith.process.user_cache import user_cache

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = "stage-times.json"
# The file is read at the start of a command: kilobytes.
_LARGEST = 1 << 20
# Commands whose times are kept, and stages of each; whoever ran longest ago goes first.
_MOST_COMMANDS, _MOST_STAGES = 32, 64
Times = dict[str, float]


def last(of: str) -> Times:
    """Seconds by stage, of the last run of the same command on the same things."""
    return _kept().get(of, {})


def keep(of: str, times: Mapping[str, float]) -> None:
    """Keeps these for the next run."""
    file = _file()
    if file is None or not times:
        return
    kept = {name: value for name, value in _kept().items() if name != of}
    kept[of] = dict(list(times.items())[:_MOST_STAGES])
    text = json.dumps(dict(list(kept.items())[-_MOST_COMMANDS:]))
    from weightsmith.process.durable import replacement

    with suppress(OSError, WeightsmithError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacement(file) as opened:
            opened.write(text.encode())


def _file() -> Path | None:
    folder = user_cache()
    return None if folder is None else folder / _NAME


def _kept() -> dict[str, Times]:
    """What the file says, as far as it is what we write."""
    from weightsmith.checkpoint.small_file import read_small

    file = _file()
    if file is None:
        return {}
    with suppress(OSError, ValueError, WeightsmithError):
        found = json.loads(read_small(file, _LARGEST))
        if isinstance(found, dict):
            return {name: _seconds(times) for name, times in found.items() if isinstance(times, dict)}
    return {}


def _seconds(times: Mapping[str, object]) -> Times:
    return {
        stage: float(took) for stage, took in times.items() if isinstance(took, int | float) and took >= 0
    }
