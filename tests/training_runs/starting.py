"""Runs a writer of this folder in a process of its own, with the libraries beside the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = Path(sys.prefix) / "runs"


def written(writer: str, folder: Path, *, library: str = "") -> Path:
    """The folder, filled by `tests.training_runs.<writer>`. Skips where its library is not installed."""
    if library and not (LIBRARIES / library).is_dir():
        pytest.skip(f"`make test` installs {library} beside the environment")
    command = [sys.executable, "-m", f"tests.training_runs.{writer}", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(LIBRARIES)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder
