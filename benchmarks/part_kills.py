"""`make bench-kills`: kill -9 at random moments of the parts of a conversion and of its join, until all are through."""

from __future__ import annotations

import argparse
import filecmp
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.convert.running import large_source

PARTS = 3
OPTIONS = ["--converter", "plain", "--max-shard-size", "13MB"]


def main() -> int:
    """Prints how many were killed, and in how many rounds the result was not that of one run; 1 where there is one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    draw, kills, wrong = random.Random(asked.seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        source, whole, target = (Path(name, each) for each in ("source", "whole", "out"))
        large_source(source, 400)
        _run(source, whole, [])
        for _ in range(asked.rounds):
            for last in [*draw.sample(range(1, PARTS + 1), PARTS), None]:
                step = ["--join"] if last is None else ["--part", f"{last}/{PARTS}"]
                while _run(source, target, step, draw.uniform(0.25, 1.2)) == -signal.SIGKILL:
                    kills += 1
            wrong += not _same(whole, target)
            shutil.rmtree(target)
    print(
        f"{kills} kills in {asked.rounds} rounds of {PARTS} parts and a join: {wrong} results unlike one run's"
    )
    return 1 if wrong else 0


def _run(source: Path, target: Path, step: list[str], seconds: float | None = None) -> int:
    """The exit code of one command, killed after some seconds. One that fails by itself is told."""
    command = [sys.executable, "-m", "weightsmith.cli", "convert", str(source), str(target), *OPTIONS, *step]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        print(f"{' '.join(step)}: exit {process.returncode}: {said.strip()}")
    return process.returncode


def _same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


if __name__ == "__main__":
    sys.exit(main())
