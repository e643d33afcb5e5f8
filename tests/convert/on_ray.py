"""Conversions on a Ray cluster of this machine, for tests and benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Beside the environment: `make test` puts it there.
RAY = Path(sys.prefix) / "ray"


def with_ray() -> dict[str, str]:
    """The environment of a process that finds Ray."""
    return {**os.environ, "PYTHONPATH": str(RAY), "WEIGHTSMITH_LANGUAGE": "en"}


def on_ray(source: Path, target: Path, on: str, *more: str) -> list[str]:
    """The command that converts ternary weights into eight files or so."""
    program = [sys.executable, "-m", "weightsmith", "convert", str(source), str(target), "--on", on]
    return [
        *program,
        "--converter",
        "ternary",
        "--set",
        "group_size=128",
        "--max-shard-size",
        "13MB",
        "--json",
        *more,
    ]


class Cluster:
    """Several nodes with one processor each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self.address = process.stdout.readline().strip()

    def lose(self, number: int) -> None:
        """Kills a node with all its processes."""
        self._stdin.write(f"lose {number}\n")
        self._stdin.flush()


@contextmanager
def a_cluster(nodes: int) -> Iterator[Cluster]:
    """It is gone at the end."""
    program = [sys.executable, str(Path(__file__).parent / "ray_cluster.py"), str(nodes)]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, env=with_ray(), stdin=pipe, stdout=pipe, text=True) as process:
        yield Cluster(process)


def ray_workers() -> list[int]:
    """The processes that write a part just now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                name = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if name.startswith(b"ray::_written"):
                found.append(int(entry.name))
    return found
