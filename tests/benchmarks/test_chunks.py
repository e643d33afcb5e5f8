"""The chunker of the bench cuts by content alone, as its definition says; what it counts are bytes that a hub has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.chunks import GEAR, LARGEST, SMALLEST, chunk_ends, held
from tests.values.making import save
from weightsmith.convert import convert

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CONFIG = {"model_type": "llama", "vocab_size": 4096, "hidden_size": 256}


def drawn(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8)


def by_the_byte(data: bytes) -> list[int]:
    """As the documentation of Xet says it, one byte after the other."""
    ends, start, sums = [], 0, 0
    for place, byte in enumerate(data):
        sums = (sums * 2 + int(GEAR[byte])) % 2**64
        size = place - start + 1
        if size >= LARGEST or (size >= SMALLEST and sums >> 48 == 0):
            ends.append(place + 1)
            start, sums = place + 1, 0
    return ends if start == len(data) else [*ends, len(data)]


def chunks(data: NDArray[np.uint8]) -> list[bytes]:
    return [part.tobytes() for part in np.split(data, chunk_ends(data)[:-1])]


def test_chunks_end_where_the_definition_says() -> None:
    for data in (drawn(700_000), np.zeros(300_000, np.uint8), drawn(5000), drawn(0)):
        assert chunk_ends(data) == by_the_byte(data.tobytes())


def test_chunks_have_the_sizes_of_xet() -> None:
    sizes = np.diff([0, *chunk_ends(drawn(20_000_000))])
    assert min(sizes[:-1]) >= SMALLEST
    assert max(sizes) <= LARGEST
    assert 50_000 < sizes.mean() < 75_000


def test_a_byte_at_the_front_moves_few_chunks() -> None:
    data = drawn(5_000_000)
    moved = np.concatenate([np.zeros(1, np.uint8), data])
    before, after = chunks(data), chunks(moved)
    assert b"".join(after) == moved.tobytes()
    assert len(set(after) - set(before)) <= 3


def saved(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    return save(folder, tensors, CONFIG)


def test_what_is_as_it_was_is_found_in_other_files_and_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {f"model.layers.{n}.mlp.up_proj.weight": torch.randn(1024, 1024) for n in range(3)}
    first = saved(tmp_path / "first", tensors)
    convert(first, tmp_path / "shards", max_shard_size="5MB")
    found = held(first, tmp_path / "shards")
    assert found.untouched == 3 * 2**22
    assert found.nbytes > found.untouched
    # Three files, at whose ends a chunk is another.
    assert found.untouched - 6 * LARGEST < found.known < found.untouched
    changed = {name: tensor if "0" in name else tensor + 1 for name, tensor in tensors.items()}
    found = held(first, saved(tmp_path / "changed", changed))
    assert found.untouched == 2**22
    assert found.untouched - 2 * LARGEST < found.known < found.untouched
    assert found.share == found.known / found.untouched


def test_bytes_that_stand_otherwise_are_not_known(tmp_path: Path) -> None:
    """The same tensors, each too small for a chunk, between others: a hub has none of them."""
    torch.manual_seed(0)
    small = {f"a{n}.weight": torch.randn(40, 40) for n in range(8)}
    large = {f"a{n}.z.weight": torch.randn(300, 300) for n in range(8)}
    source = saved(tmp_path / "source", {**small, **large})
    changed = {name: tensor + 1 for name, tensor in large.items()}
    found = held(source, saved(tmp_path / "changed", {**small, **changed}))
    assert found.untouched == 8 * 6400
    assert found.share < 0.2
