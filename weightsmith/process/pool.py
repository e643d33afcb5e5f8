"""Many tasks of one kind over a few child processes, for work that would be too short for a child of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from weightsmith.process.scratch import scratch_folder
from weightsmith.process.signals import unwound_by_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def results_unordered(
    work: Callable[[Task], Result], tasks: Iterable[Task], processes: int, tasks_each: int
) -> Iterator[Iterator[Result]]:
    """The results of `work(task)` as they come, from freshly started Pythons that all end with the block.

    work, tasks, results: must be picklable. processes: how many at a time. tasks_each: after so many tasks a process
    is replaced, for libraries that never give memory back. A time limit is the work's own business.
    """
    context = multiprocessing.get_context("spawn")
    with (
        unwound_by_signals(),
        scratch_folder() as scratch,
        context.Pool(processes, _begin, (str(scratch),), tasks_each) as pool,
    ):
        yield pool.imap_unordered(work, tasks)


def _begin(scratch: str) -> None:
    """First in each process. scratch: for its temporary files.

    A group of its own: Ctrl-C reaches the parent alone, which then ends them all.
    """
    os.setpgid(0, 0)
    os.environ["TMPDIR"] = scratch
    tempfile.tempdir = None
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Kills this process and its children when the parent goes, even by SIGKILL.

    Not by PR_SET_PDEATHSIG: it acts when the *thread* that started a process ends, and the pool starts some from a
    thread that ends before the pool has been wound up.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)
