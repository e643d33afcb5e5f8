"""Weightsmith as its users run it: a process, its exit code, one JSON document, its last words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROGRAM = Path(sys.executable).with_name("weightsmith")
# The engine computes on cores that others want as well (weightsmith.process.child has the measurement).
CALM = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True, slots=True)
class Done:
    """document: empty where there was none. errors: the lines of stderr."""

    code: int
    document: dict[str, Any]
    errors: tuple[str, ...]


def weightsmith(arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Done:
    """Runs one command with `--json` in `folder`."""
    done = subprocess.run(
        [str(_PROGRAM), arguments[0], "--json", *arguments[1:]],
        cwd=folder,
        env={**os.environ, **CALM, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return read(done.returncode, done.stdout, done.stderr)


def read(code: int, output: str, errors: str) -> Done:
    """What a command that was run with `--json` has left."""
    try:
        document = json.loads(output)
    except ValueError:
        document = {}
    return Done(code, document, tuple(errors.strip().splitlines()))
