"""Where the processor time of one conversion goes: `python -m benchmarks.stages SRC CONVERTER`, a process of its own.

One worker converts, and what it calls is timed by the clock of its thread. Each hash takes bytes in their order, one
thread at a time: however many processors there are, a conversion takes as long as its start and its slowest hash.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

READ, ARITHMETIC, WRITE = "reading the source", "arithmetic", "writing past the page cache"
SOURCE_HASH, OUTPUT_HASH = "hash of the source (in order)", "hash of the output (in order)"
REST = "Python's start, the plan, the metadata, between the pieces"


class Clock:
    """Processor seconds of the threads in which timed functions run. A timed function calls no other one."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] += time.thread_time() - began

        return run


class TimedHasher:
    """A hasher whose updates are timed as the output's."""

    def __init__(self, clock: Clock, hasher: Any) -> None:
        self.update = clock.timed(OUTPUT_HASH, hasher.update)
        self.hexdigest = hasher.hexdigest


def stages(source: Path, target: Path, converter: str) -> Counter[str]:
    """Stage -> processor seconds of this process, whose whole life counts."""
    from weightsmith.converters.ternary import Fuse

    from weightsmith.checkpoint.data import TensorReader
    from weightsmith.checkpoint.hashing import new_hasher
    from weightsmith.convert import convert
    from weightsmith.convert.stream import ordered_file
    from weightsmith.convert.stream.disk import Disk
    from weightsmith.convert.stream.source_hashes import SourceHasher

    clock = Clock()
    methods = [(TensorReader, "read_bytes_into", READ), (Fuse, "fill", ARITHMETIC)]
    methods += [(SourceHasher, "add", SOURCE_HASH), (Disk, "_write", WRITE)]
    with ExitStack() as stack:
        for owner, name, stage in methods:
            stack.enter_context(patch.object(owner, name, clock.timed(stage, getattr(owner, name))))
        timed = lambda name: TimedHasher(clock, new_hasher(name))  # noqa: E731
        stack.enter_context(patch.object(ordered_file, "new_hasher", timed))
        convert(source, target, converter=converter, workers=1)
    clock.seconds[REST] = time.process_time() - sum(clock.seconds.values())
    return clock.seconds


def main(arguments: Sequence[str]) -> None:
    source, converter = arguments
    with tempfile.TemporaryDirectory(dir=Path(source).parent) as folder:
        found = stages(Path(source), Path(folder) / "out", converter)
    rows = [(stage, f"{seconds:.2f}") for stage, seconds in found.most_common()]
    rows.append(("all", f"{sum(found.values()):.2f}"))
    print(tabulate(rows, headers=[f"cpu s of {converter}", ""], disable_numparse=True))


if __name__ == "__main__":
    main(sys.argv[1:])
