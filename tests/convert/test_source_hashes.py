"""Source files that are read in the order of their bytes are hashed from what is read; all have their true hash."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from weightsmith.converters.plain import plain_recipe

from tests.values.making import save_bin
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.hashing import file_hash
from weightsmith.convert import convert
from weightsmith.convert.plan.choose import gather
from weightsmith.convert.plan.output_plan import plan_output
from weightsmith.convert.stream.pieces import FileBytes
from weightsmith.convert.stream.source_hashes import SourceHasher, files_read_in_order
from weightsmith.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

TENSORS = {f"model.layers.{n}.mlp.up_proj.weight": torch.randn(700, 2048).bfloat16() for n in range(12)}


def sharded(folder: Path) -> Path:
    """Three shards as the reference writer makes them."""
    folder.mkdir()
    weight_map = {}
    for number in range(3):
        file = f"model-{number + 1:05d}-of-00003.safetensors"
        held = {name: TENSORS[name] for name in list(TENSORS)[4 * number : 4 * number + 4]}
        save_file(held, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(held, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def followed(source: Path, limit: int = 10**12) -> set[str]:
    return files_read_in_order(plan_output(plain_recipe(gather(open_checkpoint(source)), None), limit))


@pytest.mark.parametrize("order", [{}, {"dtype": "float32"}, {"converter": "ternary"}])
@pytest.mark.parametrize("layout", ["in order", "torch", "mixed"])
def test_the_hashes_are_those_of_the_files(tmp_path: Path, layout: str, order: dict[str, str]) -> None:
    if layout == "mixed":  # what is wider comes first in the output
        tensors = {**TENSORS, "model.norm.weight": torch.ones(2048)}
        source = save_bin(tmp_path / "source", tensors)
        assert not followed(source)
    elif layout == "torch":  # ten comes after two here, and before it in the order of their names
        source = save_bin(tmp_path / "source", TENSORS)
        assert followed(source) == {"pytorch_model.bin"}
    else:
        source = sharded(tmp_path / "source")
        assert followed(source) == set(open_checkpoint(source).files)
    options = {"options": {"group_size": "128"}} if "converter" in order else {}
    convert(source, tmp_path / "out", workers=3, max_shard_size="12MB", **order, **options)  # type: ignore[arg-type]
    manifest = json.loads((tmp_path / "out/weightsmith.json").read_text())
    for side, folder in (("source", source), ("output", tmp_path / "out")):
        assert manifest[side]
        for entry in manifest[side]:
            assert (entry["bytes"], entry["hash"]) == (
                (folder / entry["file"]).stat().st_size,
                file_hash(folder / entry["file"], "blake3"),
            )


def test_bytes_that_were_not_read_are_hashed_all_the_same(tmp_path: Path) -> None:
    data = np.frombuffer(random.Random(0).randbytes(5_000_000), np.uint8)
    (tmp_path / "file").write_bytes(data)
    hasher = SourceHasher(tmp_path, {"file": len(data)}, "blake3")
    for start, stop in (
        (1000, 1_000_000),
        (1_000_000, 1_000_000),
        (1_000_000, 1_000_001),
        (4_000_000, 4_500_000),
    ):
        hasher.add(FileBytes("file", start, data[start:stop]))
    hasher.add(FileBytes("another", 0, data))
    assert hasher.digests() == {"file": (len(data), file_hash(tmp_path / "file", "blake3"))}


def test_a_file_that_shrinks_has_no_hash(tmp_path: Path) -> None:
    source = sharded(tmp_path / "source")
    (file, *_) = sizes = open_checkpoint(source).files
    hasher = SourceHasher(source, {file: sizes[file]}, "blake3")
    os.truncate(source / file, 1000)
    with pytest.raises(CorruptCheckpoint, match="ends at byte 1,000"):
        hasher.digests()
