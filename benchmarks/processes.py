"""Whole processes, timed side by side: wall and processor time, peak memory; medians of interleaved rounds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians over the rounds: seconds of wall time, MB (10^6 bytes) at the peak, seconds of processor time."""

    seconds: float
    megabytes: float
    cpu: float


def measure(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    accepted: frozenset[int] = frozenset({0}),
    before: Callable[[], object] = lambda: None,
    may_fail: Collection[str] = (),
) -> dict[str, Figure]:
    """Runs every command once per round, in turn, so that noise on the machine meets all of them alike.

    before: called ahead of every run, untimed; it clears away what the last one wrote. may_fail: names of commands of
    others: one that fails has no figure. Any other one ends the benchmark.
    """
    runs: dict[str, list[Figure]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            if name not in runs:
                continue
            before()
            figure = _run(command, accepted)
            if figure is None and name in may_fail:
                del runs[name]
            elif figure is None:
                sys.exit(f"{' '.join(command)}: failed")
            elif number:  # the first round only warms the page cache and writes bytecode
                runs[name].append(figure)
    return {name: _median(figures) for name, figures in runs.items()}


def _median(figures: Sequence[Figure]) -> Figure:
    return Figure(
        statistics.median(f.seconds for f in figures),
        statistics.median(f.megabytes for f in figures),
        statistics.median(f.cpu for f in figures),
    )


# A process counts its parent's resident memory as its own peak until it has loaded its own program, so the
# commands are started from a bare interpreter of 10 MB and not from the benchmark, which may hold torch.
_LAUNCHER = """
import os, sys, time
quiet = os.open(os.devnull, os.O_RDWR)
dup = [(os.POSIX_SPAWN_DUP2, quiet, fd) for fd in (0, 1, 2)]
start = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=dup)
_, status, usage = os.wait4(process, 0)
print(time.perf_counter() - start, usage.ru_maxrss, usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status))
"""


def _run(command: Sequence[str], accepted: frozenset[int]) -> Figure | None:
    """None for an exit code that is not accepted."""
    launched = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    # As a user has it: a shell that forbids to write bytecode makes every start compile its modules again.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(launched, capture_output=True, text=True, check=True, env=environment)
    printed = done.stdout
    seconds, kilobytes, cpu, code = printed.split()
    if int(code) not in accepted:
        return None
    return Figure(float(seconds), int(kilobytes) * 1024 / 1e6, float(cpu))
