"""A file that is given in any order stands on the disk as it was given, and its hash is that of its bytes."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.checkpoint.hashing import file_hash
from weightsmith.convert.stream import disk as disks
from weightsmith.convert.stream.disk import BLOCK, WINDOW, Disk
from weightsmith.convert.stream.ordered_file import Stream, allocate

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

SIZES = st.one_of(st.integers(0, 3000), st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK]))


def give(path: Path, sizes: list[int], order: list[int], hash_name: str, lying: Collection[int] = ()) -> str:
    """Segments of random bytes of these sizes, given in this order; the stream's hash. Checks the bytes.

    lying: those that lie in a room of the disk's.
    """
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    data = [random.Random(n).randbytes(size) for n, size in enumerate(sizes)]
    path.unlink(missing_ok=True)
    allocate(path, sum(sizes))
    with Disk() as disk:
        stream = Stream(path, sum(sizes), hash_name, disk)
        try:
            for number in order:
                segment = np.frombuffer(data[number], np.uint8)
                if number in lying and len(segment):
                    room = disk.room(starts[number], len(segment))
                    room.data[:] = segment
                    stream.take(starts[number], room)
                else:
                    stream.write(starts[number], segment)
            found = stream.sealed()
        finally:
            stream.close()
    assert path.read_bytes() == b"".join(data)
    return found


@given(st.lists(SIZES, min_size=1, max_size=12).filter(any).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.permutations(range(len(sizes))))
), st.sets(st.integers(0, 11)))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_every_order_gives_the_hash_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[list[int], list[int]], lying: set[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "stream"
    assert give(path, *drawn, "sha256", lying) == file_hash(path, "sha256")


@given(
    st.lists(st.tuples(SIZES, st.booleans()), min_size=1, max_size=12).filter(
        lambda all: any(s for s, _ in all)
    )
)
@settings(max_examples=100, deadline=None)
def test_what_comes_in_order_goes_past_the_cache_wherever_it_lies(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, bool]]
) -> None:
    """Blocks are whole and aligned whatever lies in rooms and what is gathered: no write is refused."""
    path = tmp_path_factory.getbasetemp() / "stream"
    lying = {number for number, (_, lies) in enumerate(drawn) if lies}
    sizes = [size for size, _ in drawn]

    def refused(descriptor: int) -> None:
        raise AssertionError(f"a write to {descriptor} was refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disks, "go_through_cache", refused)
        found = give(path, sizes, list(range(len(sizes))), "sha256", lying)
    assert found == file_hash(path, "sha256")


@pytest.mark.parametrize("lying", [(), range(40), range(0, 40, 3)])
@pytest.mark.parametrize("early", [(), (7,), (20, 3, 31)])
def test_many_windows_and_what_comes_early(
    tmp_path: Path, early: tuple[int, ...], lying: Collection[int]
) -> None:
    generator = random.Random(1)
    sizes = [generator.choice([1, 17, 4096, 300_000, WINDOW, 5_000_000]) for _ in range(40)]
    order = [*range(2), *early, *(n for n in range(2, 40) if n not in early)]
    found = give(tmp_path / "stream", sizes, order, "blake3", lying)
    assert found == file_hash(tmp_path / "stream", "blake3")


def test_a_file_system_that_writes_only_through_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses the flag when the file is opened, or the first write of a size that it does not like."""
    opened, written = os.open, os.pwrite

    def refuse_open(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return opened(path, flags, *rest)

    def refuse_write(descriptor: int, data: memoryview, at: int) -> int:
        if disks.is_direct(descriptor):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return written(descriptor, data, at)

    sizes = [100, 3 * WINDOW, 70 << 20, 5]
    for name, refusal in (("open", refuse_open), ("pwrite", refuse_write)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, refusal)
            found = give(tmp_path / name, sizes, [0, 1, 2, 3], "blake3")
        assert found == file_hash(tmp_path / name, "blake3")


def test_writes_that_are_refused_at_once_all_go_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three writes have begun when the first refusal changes the way; the others hear of theirs after it."""
    written, begun = os.pwrite, threading.Barrier(3, timeout=20)

    def refuse_together(descriptor: int, data: memoryview, at: int) -> int:
        if not disks.is_direct(descriptor):
            return written(descriptor, data, at)
        if begun.wait() > 0:
            while disks.is_direct(descriptor):
                time.sleep(0.001)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "pwrite", refuse_together)
    found = give(tmp_path / "stream", [3 * WINDOW], [0], "blake3")
    assert found == file_hash(tmp_path / "stream", "blake3")


def test_a_disk_that_fails_is_an_error_and_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="Input/output error"):
        give(tmp_path / "stream", [4 * WINDOW] * 8, list(range(8)), "blake3")


def test_a_byte_that_was_never_given_is_no_hash(tmp_path: Path) -> None:
    allocate(tmp_path / "stream", 4)
    with Disk() as disk:
        stream = Stream(tmp_path / "stream", 4, "blake3", disk)
        stream.write(1, np.frombuffer(b"abc", np.uint8))
        with pytest.raises(ValueError, match="up to byte 0 of 4"):
            stream.sealed()
        stream.close()
