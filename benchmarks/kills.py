"""Kill -9 at random moments of a conversion: is the target ever something that looks finished and is not?

python -m benchmarks.kills --kills 200 --seed 1
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from tests.convert.running import large_source, leftovers, run, start

CONVERTERS = ("plain", "ternary")


@dataclass(frozen=True, slots=True)
class Count:
    """early: killed before the target appeared. late: the target was there, every byte of it. losses: it was there
    and not every byte of it. strays: what killed runs left and the next whole run did not clean away."""

    converter: str
    kills: int
    early: int
    late: int
    losses: int
    strays: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each converter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megabytes", type=int, default=96, help="of the source")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weightsmith-kills-") as folder:
        source = large_source(Path(folder, "source"), options.megabytes)
        counts = [kill(source, Path(folder, name), name, options.kills, options.seed) for name in CONVERTERS]
    rows = [[c.converter, c.kills, c.early, c.late, c.losses, c.strays] for c in counts]
    heads = ["converter", "kills", "target absent", "target complete", "losses", "strays left"]
    print(tabulate(rows, headers=heads))
    return 1 if any(c.losses or c.strays for c in counts) else 0


def kill(source: Path, target: Path, converter: str, kills: int, seed: int) -> Count:
    """Kills as many runs, at moments drawn from the start of the process to a little past a whole run's end."""
    durations = []
    for _ in range(3):
        shutil.rmtree(target, ignore_errors=True)
        began = time.monotonic()
        _need(run(source, target, converter)[0] == 0)
        durations.append(time.monotonic() - began)
    expected, duration = contents(target), min(durations)
    shutil.rmtree(target)
    moments = random.Random(f"{seed} {converter}")
    early = late = losses = 0
    for number in range(kills):
        with start(source, target, converter) as process:
            time.sleep(moments.uniform(0.0, 1.2) * duration)
            process.kill()
        if not target.exists():
            early += 1
        else:
            late, losses = (late + 1, losses) if contents(target) == expected else (late, losses + 1)
            shutil.rmtree(target)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{converter}: {number + 1}/{kills} killed")
    _need(run(source, target, converter)[0] == 0 and contents(target) == expected)
    strays = len(leftovers(target))
    shutil.rmtree(target)
    return Count(converter, kills, early, late, losses, strays)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _need(done: bool) -> None:
    if not done:
        sys.exit("a conversion that nobody killed failed")


if __name__ == "__main__":
    sys.exit(main())
