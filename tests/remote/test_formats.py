"""Every format is read from elsewhere as it is read here, and a lie in it is found before its data are believed."""

from __future__ import annotations

import struct
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

from tests.checkpoint.gguf_bytes import llama, llama_file
from weightsmith import library
from weightsmith.checkpoint.data import TensorReader
from weightsmith.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.remote.hub import Hub


def same_bytes(folder: Path, address: str) -> None:
    here, there = library.open(folder), library.open(address)
    assert there.tensors == here.tensors and there.format == here.format and there.problems == ()
    with TensorReader(here) as one, TensorReader(there) as other:
        for name, tensor in here.tensors.items():
            assert np.array_equal(one.read(tensor), other.read(there.tensors[name]))


def test_gguf(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(llama_file(llama()))
    hub.repositories["org/gguf"] = tmp_path
    same_bytes(tmp_path / "model.gguf", "hf://org/gguf/model.gguf")
    hub.forget()
    assert library.open("hf://org/gguf/model.gguf").config is not None
    assert len([one for one in hub.of_files("model.gguf") if one.server == "cdn"]) == 1


def test_torch_zip_with_many_tensors(hub: Hub, tmp_path: Path) -> None:
    """Three ranges whatever it holds: the head with the pickle, the tail with the directory, and the rest of one."""
    tensors = {f"model.layers.{n}.weight": torch.randn(64, 130) for n in range(700)}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    hub.repositories["org/zip"] = tmp_path
    assert len(library.open("hf://org/zip").tensors) == 700
    ranges = [one for one in hub.of_files("pytorch_model.bin") if one.server == "cdn"]
    assert (
        len(ranges) <= 3
        and sum(one.sent for one in ranges) < 300_000 < (tmp_path / "pytorch_model.bin").stat().st_size
    )
    same_bytes(tmp_path, "hf://org/zip")


def test_torch_zip_of_another_alignment_has_its_headers_read(hub: Hub, tmp_path: Path) -> None:
    torch.save({"a": torch.randn(300, 300), "b": torch.randn(300, 300)}, tmp_path / "whole.bin")
    with (
        zipfile.ZipFile(tmp_path / "whole.bin") as old,
        zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    (tmp_path / "whole.bin").unlink()
    hub.repositories["org/odd"] = tmp_path
    same_bytes(tmp_path, "hf://org/odd")


def test_a_local_header_that_lies_is_found_before_data_are_read(hub: Hub, tmp_path: Path) -> None:
    """The headers of a remote zip tell the shapes; what lies between its data is read with them."""
    file = tmp_path / "pytorch_model.bin"
    torch.save({f"{n}": torch.randn(300, 300) for n in range(4)}, file)
    raw = bytearray(file.read_bytes())
    at = raw.index(b"PK\x03\x04", len(raw) // 2)
    raw[at + 26 : at + 28] = struct.pack("<H", 5)
    file.write_bytes(raw)
    hub.repositories["org/lie"] = tmp_path
    with pytest.raises(CorruptCheckpoint, match="another name in its own header"):
        library.open(tmp_path)
    opened = library.open("hf://org/lie")
    assert len(opened.tensors) == 4
    with (
        TensorReader(opened) as reader,
        pytest.raises(CorruptCheckpoint, match="another name in its own header"),
    ):
        reader.read(opened.tensors["0"])
    with pytest.raises(CorruptCheckpoint, match="another name in its own header"):
        library.inspect("hf://org/lie", values="sample")


def test_torch_legacy(hub: Hub, tmp_path: Path) -> None:
    tensors = {"a": torch.randn(40, 50), "b": torch.arange(7)}
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    hub.repositories["org/legacy"] = tmp_path
    same_bytes(tmp_path, "hf://org/legacy")


def test_torch_distributed(hub: Hub, tmp_path: Path) -> None:
    state = {f"layers.{n}.weight": torch.randn(16, 8 * n + 1) for n in range(5)}
    dcp.save(state, checkpoint_id=tmp_path, no_dist=True)
    hub.repositories["org/run"] = tmp_path
    same_bytes(tmp_path, "hf://org/run")


def test_an_empty_file_is_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    hub.repositories["org/empty"] = tmp_path
    for address in (
        "hf://org/empty",
        f"{hub.url.replace('127.0.0.1', 'localhost')}/org/empty/model.safetensors",
    ):
        with pytest.raises(CorruptCheckpoint, match="is empty"):
            library.open(address)
