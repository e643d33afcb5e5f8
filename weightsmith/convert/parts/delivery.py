"""Takes each weights file that is whole to its place, beside the making of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert.finish.sealing import verify_file
from weightsmith.convert.parts.notes import note_shard
from weightsmith.convert.stamps import need_unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from weightsmith.convert.parts.plan import PartsPlan

# Files that wait on this machine's disk: the one that is sent, and the one that is made.
AT_ONCE = 2


class Delivery:
    """One file after the other. A block that fails gives up what is on its way; one that ends waits for all."""

    def __init__(self, plan: PartsPlan, private: Path, read: Mapping[str, set[str]]) -> None:
        """read: weights file -> the files of the source that it is made of."""
        self._plan, self._private, self._read = plan, private, read
        self._pool, self._stop = ThreadPoolExecutor(1), Event()
        self._sent: list[Future[None]] = []

    def __enter__(self) -> Delivery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._wait(0)
        finally:
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)

    def finished(self, file: str, nbytes: int, digest: str) -> None:
        """The file is whole in the private folder. Returns at once; raises what an earlier one met."""
        self._raise_met()
        self._sent.append(self._pool.submit(self._deliver, file, digest))

    @property
    def space(self) -> Callable[[], None] | None:
        """Waits until there is space to make one more file; None where that costs none."""
        return (lambda: self._wait(AT_ONCE - 1)) if self._plan.destination.costs_room else None

    def _wait(self, most: int) -> None:
        """Until at most so many are on their way. Raises what one of them met."""
        for future in self._sent[: len(self._sent) - most]:
            future.result()
        self._raise_met()

    def _raise_met(self) -> None:
        for future in self._sent:
            if future.done():
                future.result()

    def _deliver(self, file: str, digest: str) -> None:
        """Opens it like a stranger's, and looks whether its source was written to, before it is let out."""
        plan, source = self._plan, self._plan.source
        verify_file(open_checkpoint(self._private / file), file, plan.table)
        stamps = {name: source.stamps[name] for name in self._read[file]}
        need_unchanged(source.checkpoint.root, stamps, plan.request.source)
        state = plan.destination.deliver(self._private / file, file, self._stop)
        note_shard(plan.destination, plan.work, file, state, digest)
