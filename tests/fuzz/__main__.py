"""Runs every target for a while and prints how many inputs each one took: `make fuzz FOR=60`."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from tests.fuzz.judged import SLOWEST
from tests.fuzz.seeds import WORDS, plant

# Thousands of small files a second: in memory where the system has such a place, because a busy disk takes 20 times.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# libFuzzer's: megabytes of the whole process (the interpreter and atheris take about 100), and seconds of the wall, of
# which a busy machine takes many: what hangs. The target itself counts an input's seconds of CPU (`judged`).
LARGEST, _HANGS = 500, 40
PROPERTIES = ["tests/checkpoint/test_any_bytes.py", "tests/checkpoint/test_torch_distributed.py"]


@dataclass(frozen=True, slots=True)
class Ran:
    """inputs: tried. coverage: edges of the readers' code seen at the end. found: what broke, kept on the disk."""

    name: str
    inputs: int
    seconds: float
    coverage: int
    peak_mb: int
    found: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", choices=list(WORDS), nargs="+", default=list(WORDS))
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-findings"), help="where inputs that broke it go"
    )
    options = parser.parse_args()
    rows = []
    for name in options.only:
        sys.stderr.write(f"fuzzing {name} for {options.seconds} s\n")
        rows.append(fuzz(name, options.seconds, options.keep))
    sys.stderr.write("hypothesis: generated files, compared with what torch and safetensors make of them\n")
    rows.append(properties())
    table = [
        [r.name, f"{r.inputs:,}", f"{r.inputs / r.seconds:,.0f}", r.coverage or "", r.peak_mb or "", r.found]
        for r in rows
    ]
    print(tabulate(table, headers=["target", "inputs", "per second", "edges", "peak MB", "found"]))
    print(
        f"\n{sum(r.inputs for r in rows):,} inputs; an input may take {SLOWEST:g} s of CPU, a process {LARGEST} MB"
    )
    return 1 if any(r.found != "nothing" for r in rows) else 0


def fuzz(name: str, seconds: int, keep: Path) -> Ran:
    with tempfile.TemporaryDirectory(prefix="weightsmith-fuzz-", dir=MEMORY) as place:
        folder = Path(place)
        plant(name, folder / "corpus", folder / "work")
        command = [
            *(sys.executable, "-m", "tests.fuzz.target", name, str(folder / "corpus")),
            *(f"-max_total_time={seconds}", f"-timeout={_HANGS}", f"-rss_limit_mb={LARGEST}"),
            *(
                "-max_len=65536",
                "-print_final_stats=1",
                f"-dict={folder / 'words'}",
                f"-artifact_prefix={folder}/",
            ),
        ]
        started = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=_environment()
        )
        told = started.stderr
        broken = [
            file for file in folder.iterdir() if file.name.startswith(("crash-", "timeout-", "oom-", "slow-"))
        ]
        found = "nothing" if not started.returncode else f"exit {started.returncode}: {_last_line(told)}"
        for file in broken if started.returncode else ():
            keep.mkdir(parents=True, exist_ok=True)
            shutil.move(file, keep / f"{name}-{file.name}")  # from memory to a disk
            found += f" ({keep / f'{name}-{file.name}'})"
    edges = re.findall(r"\bcov: (\d+)", told)
    return Ran(
        name,
        inputs=_stat(told, "number_of_executed_units"),
        seconds=max(1, seconds),
        coverage=int(edges[-1]) if edges else 0,
        peak_mb=_stat(told, "peak_rss_mb"),
        found=found,
    )


def properties() -> Ran:
    """The property tests of the same readers: how many generated inputs they took."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-show-statistics", *PROPERTIES]
    told = subprocess.run(command, capture_output=True, text=True)
    cases = re.findall(r"- (\d+) passing, (\d+) failing, and (\d+) invalid", told.stdout)
    found = "nothing" if not told.returncode else _last_line(told.stdout)
    return Ran(
        "hypothesis", sum(int(n) for case in cases for n in case), time.monotonic() - started, 0, 0, found
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


def _stat(told: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+(\d+)", told)
    return int(found[1]) if found else 0


def _last_line(told: str) -> str:
    lines = [
        line for line in told.splitlines() if re.search(r"Error|Exception|FORBIDDEN|ERROR: libFuzzer", line)
    ]
    return lines[0][:200] if lines else (told.strip().splitlines() or ["no output"])[-1][:200]


if __name__ == "__main__":
    sys.exit(main())
