"""Runs a function over many items with a few threads, each with its own buffers; one worker runs inline."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Condition, Event, Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

# numpy lets go of the interpreter lock inside each call, but the calls here last some ten microseconds: more
# threads than this wait for the lock and for memory.
_MOST_WORKERS = 8


def default_workers() -> int:
    """The processors that this process may use, within reason."""
    return max(1, min(len(os.sched_getaffinity(0)), _MOST_WORKERS))


def for_each(
    items: Iterable[Item],
    new_worker: Callable[[], Callable[[Item], Result]],
    workers: int,
    stopping: Callable[[], object] = lambda: None,
) -> list[Result]:
    """[worker(item) for item in items], each thread with a worker of its own; results in the order of the items.

    Items are drawn one at a time, so what is in flight is bounded by the number of workers. The first
    exception (KeyboardInterrupt included) stops all threads after their current item and is raised; `stopping`
    is called then, to wake those that wait for something.
    """
    if workers <= 1:
        work = new_worker()
        return [work(item) for item in items]
    queue: _Queue[Item, Result] = _Queue(items, stopping)
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_work_off, queue, new_worker) for _ in range(workers)]
        try:
            wait(futures)
        except BaseException:
            queue.stop()
            raise
    for future in futures:
        future.result()
    return [queue.results[number] for number in sorted(queue.results)]


class _Queue(Generic[Item, Result]):
    """Items that several threads draw from, one at a time, and the results by the number of their item."""

    def __init__(self, items: Iterable[Item], stopping: Callable[[], object]) -> None:
        self._numbered, self._stopping = enumerate(items), stopping
        self._drawing, self._stopped = Lock(), Event()
        self.results: dict[int, Result] = {}

    def draw(self) -> tuple[int, Item] | None:
        """The next item with its number; None when there are no more, or when the work has stopped."""
        with self._drawing:
            return None if self._stopped.is_set() else next(self._numbered, None)

    def stop(self) -> None:
        """Hands out no more items."""
        self._stopped.set()
        self._stopping()


def _work_off(queue: _Queue[Item, Result], new_worker: Callable[[], Callable[[Item], Result]]) -> None:
    """What one thread does: works on items until there are none."""
    work = new_worker()
    while (drawn := queue.draw()) is not None:
        number, item = drawn
        try:
            queue.results[number] = work(item)
        except BaseException:
            queue.stop()
            raise


def in_order(
    items: Iterable[Item],
    new_worker: Callable[[], Callable[[Item], Result]],
    stages: Sequence[Callable[[Result], object]],
    workers: int,
) -> None:
    """stage(worker(item)) for each item and stage: the work side by side, each stage one item at a time, in order.

    A result goes through the stages in the thread that made it, which draws its next item afterwards: at most
    one result per worker waits, and it may lie in the worker's own buffers. Exceptions as in `for_each`.
    """
    turn, stopped = Condition(), False
    upcoming = [0] * len(stages)

    def stop() -> None:
        nonlocal stopped
        with turn:
            stopped = True
            turn.notify_all()

    def new_turning_worker() -> Callable[[tuple[int, Item]], None]:
        work = new_worker()

        def work_and_pass_on(numbered: tuple[int, Item]) -> None:
            number, item = numbered
            result = work(item)
            for place, stage in enumerate(stages):
                with turn:
                    while upcoming[place] != number and not stopped:
                        turn.wait()
                if stopped:
                    return
                stage(result)
                with turn:
                    upcoming[place] += 1
                    turn.notify_all()

        return work_and_pass_on

    for_each(enumerate(items), new_turning_worker, workers, stop)


class Tally:
    """Counts bytes from several threads. `progress` gets (bytes so far, `total`), one call at a time."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._progress, self._lock = 0, total, progress, Lock()

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, self._total)
