"""Checkpoints that other people's libraries packed and wrote stand for what those libraries say, to the last bit.

`python -m benchmarks.schemes.judges --record tests/schemes/judged …` made them; truth.json has the dtype and the BLAKE3
of each weight as the library itself makes it plain.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

import weightsmith
from weightsmith.checkpoint.hashing import bytes_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

JUDGED = sorted(path.parent for path in Path(__file__).parent.glob("judged/*/truth.json"))


def of_library(folder: Path) -> Iterator[tuple[str, torch.dtype, str]]:
    """(weight, the library's dtype, the hash of its bytes)."""
    for name, (dtype, digest) in json.loads((folder / "truth.json").read_text()).items():
        yield name, getattr(torch, dtype), digest


def test_every_library_is_there() -> None:
    libraries = {folder.name.partition("-")[0] for folder in JUDGED}
    assert libraries == {
        "awq", "bitnet", "bitsandbytes", "compressed", "fp4", "fp8", "gptq", "mlx", "modelslim", "mxfp4", "nvfp4",
        "quanto", "torchao",
    }  # fmt: skip


@pytest.mark.parametrize("folder", JUDGED, ids=lambda folder: folder.name)
def test_each_weight_is_what_its_library_says(folder: Path, tmp_path: Path) -> None:
    weightsmith.convert(folder, tmp_path / "out", converter="dequant", dtype="float32")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    others = []
    for name, dtype, digest in of_library(folder):
        raw = ours[name].to(dtype).contiguous().flatten().view(torch.uint8).numpy().tobytes()
        if bytes_hash(raw) != digest:
            others.append(name)
    assert not others


@pytest.mark.parametrize("folder", JUDGED, ids=lambda folder: folder.name)
def test_the_config_is_the_models_own(folder: Path) -> None:
    found = weightsmith.infer(folder)
    assert found.verdict == "agrees", [field for field in found.fields if field.status != "agrees"]
