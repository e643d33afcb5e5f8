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
_CALM = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True, slots=True)
class Done:
    """document: empty where there was none. errors: the lines of stderr."""

    code: int
    document: dict[str, Any]
    errors: tuple[str, ...]


def weightsmith(arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Done:
    """Runs one command with `--json` in `folder`."""
    done = subprocess.run(
        [str(_PROGRAM), *arguments, "--json"],
        cwd=folder,
        env={**os.environ, **_CALM, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = {}
    return Done(done.returncode, document, tuple(done.stderr.strip().splitlines()))
