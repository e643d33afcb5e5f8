"""Runs a program of the machine, such as npu-smi, and returns what it said."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Said:
    """text: stdout, then stderr. status: its exit status, None where it could not be started."""

    text: str
    status: int | None


def say(command: Sequence[str]) -> Said:
    """Waits for its end, however long that takes: to be called in a child that somebody watches."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        return Said(str(error), None)
    return Said(done.stdout + done.stderr, done.returncode)
