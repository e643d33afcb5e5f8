"""A GGUF file becomes the model that it was made of; `make bench-schemes` compares packed ones with transformers."""

from __future__ import annotations

import json
import sys
import types
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.checkpoint.gguf_bytes import LLAMA, VOCAB, llama, llama_file, stored_name
from tests.checkpoint.gguf_bytes import gguf as gguf_file
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused, MissingPackage

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, data: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_rows_come_back_in_the_models_order(tmp_path: Path, dtype: str | None) -> None:
    weights = llama()
    result = convert(write(tmp_path, llama_file(weights)), tmp_path / "out", dtype=dtype)
    assert result.converter == "dequant"
    found = load_file(tmp_path / "out/model.safetensors")
    wanted = np.float16 if dtype is None else np.float32
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        exact = weight.astype(np.float16) if weight.ndim > 1 else weight
        assert np.array_equal(found[name], exact.astype(wanted)), name
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert (config["vocab_size"], config["dtype"]) == (VOCAB, "float16" if dtype is None else "float32")
    assert any("tokenizer" in note for note in result.notes)


def packed(name: str = "model.embed_tokens.weight") -> bytes:
    """The model with one matrix in q8_0: blocks of an F16 and 32 int8."""
    tensors = {}
    for key, weight in llama().items():
        if key == name:
            raw = np.zeros((weight.size // 32, 34), np.uint8)
            raw[:, :2] = np.frombuffer(np.float16(0.5).tobytes(), np.uint8)
            raw[:, 2:] = (np.arange(32) - 16).astype(np.int8).view(np.uint8)
            tensors[stored_name(key)] = ("q8_0", weight.shape, raw.tobytes())
        else:
            tensors[stored_name(key)] = ("f32", weight.shape, weight.tobytes())
    return gguf_file(tensors, LLAMA)


def test_packed_rows_are_made_by_gguf_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package, which is no part of this environment: what it is given and what is made of it."""
    asked = []

    def dequantize(blocks: np.ndarray, kind: str) -> np.ndarray:
        asked.append(kind)
        cut = blocks.reshape(-1, 34)
        scale = cut[:, :2].copy().view(np.float16).astype(np.float32)
        return (cut[:, 2:].view(np.int8) * scale).reshape(len(blocks), -1)

    package, quants = types.ModuleType("gguf"), types.ModuleType("gguf.quants")
    package.GGMLQuantizationType = {"Q8_0": "Q8_0"}  # type: ignore[attr-defined]
    quants.dequantize = dequantize  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gguf", package)
    monkeypatch.setitem(sys.modules, "gguf.quants", quants)
    convert(write(tmp_path, packed()), tmp_path / "out", dtype="float32")
    found = load_file(tmp_path / "out/model.safetensors")["model.embed_tokens.weight"]
    row = np.tile((np.arange(32) - 16) * np.float32(0.5), 2)
    assert np.array_equal(found, np.tile(row, (VOCAB, 1)).astype(np.float32))
    assert set(asked) == {"Q8_0"}


def test_without_the_package_one_line_tells_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingPackage, match=r"pip install 'weightsmith\[gguf\]'"):
        convert(write(tmp_path, packed()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_architecture_that_is_not_known_is_refused(tmp_path: Path) -> None:
    data = llama_file(llama(), entries={**LLAMA, "general.architecture": "falcon"})
    for converter in (None, "plain"):
        with pytest.raises(ConversionRefused, match="architecture is 'falcon'"):
            convert(write(tmp_path, data), tmp_path / "out", converter=converter)


@pytest.mark.parametrize(("converter", "options"), [("plain", {}), ("ternary", {"group_size": "32"})])
def test_what_no_loader_reads_is_not_copied(tmp_path: Path, converter: str, options: dict[str, str]) -> None:
    with pytest.raises(ConversionRefused, match="use --converter dequant"):
        convert(write(tmp_path, llama_file(llama())), tmp_path / "out", converter=converter, options=options)
