"""Whole processes, timed side by side: wall time and peak resident memory, medians of interleaved rounds."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians over the rounds: seconds of wall time, and MB (10^6 bytes) resident at the peak."""

    seconds: float
    megabytes: float


def measure(
    commands: Mapping[str, Sequence[str]], rounds: int, accepted: frozenset[int] = frozenset({0})
) -> dict[str, Figure]:
    """Runs every command once per round, in turn, so that noise on the machine meets all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    peaks: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            seconds, peak = _run(command, accepted)
            if number:  # the first round only warms the page cache and writes bytecode
                times[name].append(seconds)
                peaks[name].append(peak)
    return {name: Figure(statistics.median(times[name]), statistics.median(peaks[name])) for name in commands}


# A process counts its parent's resident memory as its own peak until it has loaded its own program, so the
# commands are started from a bare interpreter of 10 MB and not from the benchmark, which may hold torch.
_LAUNCHER = """
import os, sys, time
quiet = os.open(os.devnull, os.O_RDWR)
dup = [(os.POSIX_SPAWN_DUP2, quiet, fd) for fd in (0, 1, 2)]
start = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=dup)
_, status, usage = os.wait4(process, 0)
print(time.perf_counter() - start, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def _run(command: Sequence[str], accepted: frozenset[int]) -> tuple[float, float]:
    launched = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    seconds, kilobytes, code = subprocess.run(
        launched, capture_output=True, text=True, check=True
    ).stdout.split()
    if int(code) not in accepted:
        sys.exit(f"{' '.join(command)}: exit code {code}")
    return float(seconds), int(kilobytes) * 1024 / 1e6
