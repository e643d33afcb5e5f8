"""The hash of a file that is written in any order is that of its bytes."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.convert.digests import digest
from weightsmith.convert.front import Front

if TYPE_CHECKING:
    from pathlib import Path


def write_in_order(path: Path, sizes: list[int], order: list[int], threads: int, hash_name: str) -> str:
    """Segments of random bytes of these sizes, written in this order by several threads; the front's hash."""
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        front = Front(descriptor, hash_name)

        def write(number: int) -> None:
            data = random.Random(number).randbytes(sizes[number])
            os.pwrite(descriptor, data, starts[number])
            front.wrote(starts[number], memoryview(data))

        if threads == 1:
            for number in order:
                write(number)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(write, order))
        return front.digest(sum(sizes))
    finally:
        os.close(descriptor)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.permutations(range(len(sizes))))
))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_every_order_gives_the_hash_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[list[int], list[int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "front"
    assert write_in_order(path, *drawn, 1, "sha256") == digest(path, "sha256")


@pytest.mark.parametrize("threads", [2, 5])
def test_several_threads_at_once(tmp_path: Path, threads: int) -> None:
    generator = random.Random(threads)
    sizes = [generator.choice([1, 17, 4096, 300_000, 2_500_000]) for _ in range(40)]
    order = generator.sample(range(40), 40)
    path = tmp_path / "front"
    assert write_in_order(path, sizes, order, threads, "blake3") == digest(path, "blake3")


def test_a_byte_that_nobody_told_of_is_no_hash(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "front", os.O_RDWR | os.O_CREAT)
    front = Front(descriptor, "blake3")
    front.wrote(1, memoryview(b"abc"))
    with pytest.raises(ValueError, match="up to byte 0 of 4"):
        front.digest(4)
    os.close(descriptor)
