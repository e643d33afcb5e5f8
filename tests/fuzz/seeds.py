"""What the fuzzer starts from: sound files of every format, and the words that their parsers know."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from typing import TYPE_CHECKING

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save, save_file

from weightsmith.checkpoint.dtypes import BITS

if TYPE_CHECKING:
    from pathlib import Path

TENSORS = {
    "a": torch.arange(12.0).reshape(3, 4),
    "b": torch.ones(5).bfloat16(),
    "c": torch.tensor(3),
    "d": torch.zeros(0, 2),
    "e": torch.zeros(3, dtype=torch.bool),
}
WORDS = {
    "safetensors": [
        '"dtype"',
        '"shape"',
        '"data_offsets"',
        '"__metadata__"',
        *(f'"{name}"' for name in BITS),
    ],
    "index": ['"weight_map"', '"metadata"', '"total_size"', "model.safetensors", "../", "\\\\u0000"],
    "torch": ["torch._utils\\x0a_rebuild_tensor_v2", "collections\\x0aOrderedDict", "builtins\\x0aeval\\x0a"],
    "distributed": [
        "torch.distributed.checkpoint.metadata",
        "MetadataIndex",
        "_StorageInfo",
        "relative_path",
    ],
    "config": ["\\x00", "\\xff"],
    "solver": ["\\x00", "\\xff"],
    "schemes": ["\\x00", "\\xff"],
    "text": ["|", "`", "\\\\", "](", "<", "\\x1b", "\\xe2\\x80\\xae", "\\xed\\xa0\\x80"],
}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def plant(name: str, corpus: Path, work: Path) -> None:
    """Fills the corpus folder, and the work folder with the sound files that an input stands beside."""
    corpus.mkdir(parents=True)
    work.mkdir()
    for number, seed in enumerate(_SEEDS[name](work)):
        (corpus / f"seed-{number}").write_bytes(seed)
    lines = [f'w{n}="{word}"' for n, word in enumerate(w.replace('"', '\\"') for w in WORDS[name])]
    (corpus.parent / "words").write_text("\n".join(lines) + "\n")


def _safetensors(work: Path) -> list[bytes]:
    whole = save(TENSORS, {"format": "pt"})
    return [whole, whole[8 : 8 + int.from_bytes(whole[:8], "little")]]


def _torch(work: Path) -> list[bytes]:
    seeds = []
    for more in ({}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}):
        buffer = io.BytesIO()
        torch.save({**TENSORS, "t": TENSORS["a"].T}, buffer, **more)  # type: ignore[arg-type]
        seeds.append(buffer.getvalue())
    start = seeds[0].index(b"\x80\x02")
    return [*seeds, seeds[0][start : seeds[0].index(b"PK\x07\x08", start)]]


def _distributed(work: Path) -> list[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": TENSORS, "steps": 3}, checkpoint_id=work, no_dist=True)
    return [(work / ".metadata").read_bytes()]


def _index(work: Path) -> list[bytes]:
    names = list(TENSORS)
    save_file({n: TENSORS[n] for n in names[:2]}, work / SHARDS[0])
    save_file({n: TENSORS[n] for n in names[2:]}, work / SHARDS[1])
    places = {n: SHARDS[0] if n in names[:2] else SHARDS[1] for n in names}
    return [json.dumps({"metadata": {"total_size": 100}, "weight_map": places}).encode(), bytes(32)]


def _choices(work: Path) -> list[bytes]:
    """For structures that are chosen by the bytes: one of each family."""
    return [bytes([first, *range(1, 40)]) for first in range(16)]


_SEEDS = {
    **{"safetensors": _safetensors, "torch": _torch, "distributed": _distributed, "index": _index},
    **dict.fromkeys(("config", "solver", "schemes", "text"), _choices),
}


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
