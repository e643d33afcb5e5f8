"""Kill -9 at random moments of a conversion: is the target ever something that looks finished and is not?

Of one in parts, its parts and its join, and of one on Ray, its driver and its workers, too. And of a verification: does
an engine, a reference or a temporary folder outlive it?

python -m benchmarks.kills --kills 200 --ray-kills 20 --verify-kills 20 --seed 1
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from tests.convert.on_ray import RAY, a_cluster, on_ray, ray_workers, with_ray
from tests.convert.running import large_source, leftovers, run, start
from tests.process.living import living_under
from tests.verify.conftest import HRM_TEXT
from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import WeightsmithError

CONVERTERS = ("plain", "ternary")
PARTS = 4
# Children ask the kernel to die with their parent: it takes them a moment.
_MOMENT = 2.0


@dataclass(frozen=True, slots=True)
class Count:
    """early: the target was not there yet, or was refused as unfinished. late: it was there, every byte of it. losses:
    it passed for a checkpoint, and was not every byte of it. strays: what killed runs left and the next whole run did
    not clean away."""

    converter: str
    kills: int
    early: int
    late: int
    losses: int
    strays: int


@dataclass(frozen=True, slots=True)
class Outlived:
    """Of verifications: processes that lived on, bytes in the temporary folder at the end, and after one whole run."""

    kills: int
    processes: int
    bytes_left: int
    bytes_after: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each converter")
    parser.add_argument("--ray-kills", type=int, default=20, help="of a conversion on a Ray cluster")
    parser.add_argument("--verify-kills", type=int, default=20, help="of a verification")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megabytes", type=int, default=96, help="of the source")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weightsmith-kills-") as folder:
        source = large_source(Path(folder, "source"), options.megabytes)
        counts = [kill(source, Path(folder, name), name, options.kills, options.seed) for name in CONVERTERS]
        counts.append(kill_parts(source, Path(folder, "parts"), options.kills, options.seed))
        if options.ray_kills and RAY.is_dir():
            counts.append(kill_on_ray(source, Path(folder, "ray"), options.ray_kills, options.seed))
    rows = [[c.converter, c.kills, c.early, c.late, c.losses, c.strays] for c in counts]
    heads = ["conversion", "kills", "target unfinished", "target complete", "losses", "strays left"]
    print(tabulate(rows, headers=heads))
    with tempfile.TemporaryDirectory(prefix="weightsmith-kills-") as folder:
        outlived = kill_verifications(Path(folder), options.verify_kills, options.seed)
    print(
        f"\nverify-on-npu: {outlived.kills} kills, {outlived.processes} processes lived on; "
        f"{outlived.bytes_left:,} bytes of temporary files, {outlived.bytes_after:,} after one whole run"
    )
    lost = any(c.losses or c.strays for c in counts)
    return 1 if lost or outlived.processes or outlived.bytes_after else 0


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


def kill_parts(source: Path, target: Path, kills: int, seed: int) -> Count:
    """Kills parts, two at a time, and joins of one conversion until it is whole, then of the next."""
    moments = random.Random(f"{seed} parts")
    orders = [f'part="{number}/{PARTS}"' for number in range(1, PARTS + 1)]
    _need(run(source, target, "ternary")[0] == 0)
    expected = contents(target)
    shutil.rmtree(target)
    began = time.monotonic()
    _need(_in_parts(source, target, f'part="1/{PARTS}"').wait() == 0)
    duration = time.monotonic() - began
    counted = Counter[str]()
    done = 0
    while done < kills:
        running = [_in_parts(source, target, order) for order in moments.sample([*orders, "join=True"], 2)]
        time.sleep(moments.uniform(0.3, 2.5) * duration)
        for process in running:
            process.kill()
            process.communicate()
        done += len(running)
        state = _state(target, expected)
        counted[state] += len(running)
        if state != "unfinished":
            shutil.rmtree(target)
    for order in [*orders, "join=True"]:
        _need(_in_parts(source, target, order).wait() == 0)
    strays = len(contents(target).keys() - expected.keys()) + (_state(target, expected) != "complete")
    shutil.rmtree(target)
    return Count(
        "ternary in parts", done, counted["unfinished"], counted["complete"], counted["lost"], strays
    )


def _in_parts(source: Path, target: Path, order: str) -> subprocess.Popen[str]:
    return start(source, target, "ternary", f'convert = __import__("functools").partial(convert, {order})\n')


def kill_on_ray(source: Path, target: Path, kills: int, seed: int) -> Count:
    """Kills the driver, or whichever workers there are, of conversions on a cluster of this machine."""
    moments = random.Random(f"{seed} ray")
    counted = Counter[str]()
    with a_cluster(nodes=2) as cluster:
        command = on_ray(source, target, f"ray={cluster.address}", "--workers", "1")

        def started() -> subprocess.Popen[bytes]:
            quiet = subprocess.DEVNULL
            return subprocess.Popen(command, env=with_ray(), stdin=quiet, stdout=quiet, stderr=quiet)

        began = time.monotonic()
        _need(started().wait() == 0)
        duration, expected = time.monotonic() - began, contents(target)
        shutil.rmtree(target)
        for _ in range(kills):
            with started() as process:
                time.sleep(moments.uniform(0.2, 1.0) * duration)
                if moments.random() < 0.5:
                    process.kill()
                else:
                    for worker in ray_workers():
                        with suppress(ProcessLookupError):
                            os.kill(worker, signal.SIGKILL)
            state = _state(target, expected)
            counted[state] += 1
            if state != "unfinished":
                shutil.rmtree(target)
        _need(started().wait() == 0)
        strays = int(_state(target, expected) != "complete")
    return Count("ternary on Ray", kills, counted["unfinished"], counted["complete"], counted["lost"], strays)


def _state(target: Path, expected: dict[str, bytes]) -> str:
    """What a stranger finds."""
    try:
        open_checkpoint(target)
    except WeightsmithError:
        return "unfinished"
    return "complete" if contents(target) == expected else "lost"


def kill_verifications(folder: Path, kills: int, seed: int) -> Outlived:
    """Kills as many verifications of a small model, from the start of the process to a little past its usual end."""
    command = [
        sys.executable,
        "-m",
        "weightsmith.cli",
        "verify-on-npu",
        str(HRM_TEXT),
        "--device",
        "cpu",
        "--no-cache",
    ]
    environment = {**os.environ, "TMPDIR": str(folder)}

    def started() -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)

    began = time.monotonic()
    _need(started().wait() == 0)
    duration = time.monotonic() - began
    moments, processes = random.Random(f"{seed} verify"), 0
    for _ in range(kills):
        with started() as process:
            time.sleep(moments.uniform(0.0, 1.1) * duration)
            process.kill()
        time.sleep(_MOMENT)
        processes += len(living_under(folder))
    left = _bytes_under(folder)
    _need(started().wait() == 0)
    return Outlived(kills, processes, left, _bytes_under(folder))


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _need(done: bool) -> None:
    if not done:
        sys.exit("a conversion that nobody killed failed")


if __name__ == "__main__":
    sys.exit(main())
