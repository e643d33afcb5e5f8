"""Full-size checkpoints that cost no disk: a true header, and a hole in the file where the data would be."""

from __future__ import annotations

import json
import os
from math import prod
from typing import TYPE_CHECKING

from weightsmith.checkpoint.dtypes import BITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TORCH_NAMES = {
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


def write_headers_only(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str = "BF16",
    format: str = "safetensors",
    shards: int = 1,
) -> list[Path]:
    """Writes a checkpoint of these shapes whose values are all zero and stored as a hole.

    format: "safetensors" or "bin" (torch zip, written by torch itself under `skip_data`). With more than one
    shard an index is written too. The folder is made. Returns the weights files; a .bin has no valid checksums.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem, suffix = ("model", ".safetensors") if format == "safetensors" else ("pytorch_model", ".bin")
    names = list(shapes)
    share = -(-len(names) // shards)
    files: list[Path] = []
    weight_map: dict[str, str] = {}
    for number in range(shards):
        part = {name: shapes[name] for name in names[number * share : (number + 1) * share]}
        label = "" if shards == 1 else f"-{number + 1:05d}-of-{shards:05d}"
        path = folder / f"{stem}{label}{suffix}"
        (write_safetensors if format == "safetensors" else write_bin)(path, part, dtype)
        weight_map |= dict.fromkeys(part, path.name)
        files.append(path)
    if shards > 1:
        size = sum(prod(shape) * BITS[dtype] // 8 for shape in shapes.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
    return files


def write_safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> None:
    """One sparse safetensors file."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        os.ftruncate(file.fileno(), 8 + len(raw) + end)


def write_bin(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> None:
    """One sparse torch zip file. Imports torch; the tensors are never in memory."""
    import torch

    kind = getattr(torch, _TORCH_NAMES[dtype])
    with torch.serialization.skip_data():
        # Untouched pages of an empty tensor cost nothing, and skip_data does not touch them.
        torch.save({name: torch.empty(shape, dtype=kind) for name, shape in shapes.items()}, path)
