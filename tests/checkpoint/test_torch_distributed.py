"""torch's distributed checkpoints: read as torch reads them, and refused wherever they contradict themselves."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex

from tests.checkpoint.refusals import refused_soon
from weightsmith.checkpoint import open_checkpoint, torch_distributed
from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.distributed_objects import DistributedVocabulary
from weightsmith.checkpoint.pickle_state import Inert
from weightsmith.errors import (
    CorruptCheckpoint,
    HostileCheckpoint,
    MissingInput,
    UnknownFormat,
    WeightsmithError,
)

STATE = {
    "weight": torch.arange(60, dtype=torch.float32).reshape(10, 6),
    "bias": torch.arange(7, dtype=torch.bfloat16),
    "inner": {"scalar": torch.tensor(3.5), "steps": 12, "nested": [torch.ones(2, 2, dtype=torch.int64)]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dcp.save(STATE, checkpoint_id=tmp_path / "saved", no_dist=True)
    return tmp_path / "saved"


def described(folder: Path) -> Metadata:
    return pickle.loads((folder / ".metadata").read_bytes())


def describe(folder: Path, metadata: Any) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def cut(folder: Path, name: str, at: list[int]) -> None:
    """Writes the tensor anew as blocks of rows in files of their own, as several processes would."""
    metadata = described(folder)
    whole = STATE[name]
    assert isinstance(whole, torch.Tensor)
    del metadata.storage_data[MetadataIndex(name, [0] * whole.ndim)]
    template = next(iter(metadata.storage_data.values()))
    chunks = []
    for number, (start, stop) in enumerate(zip([0, *at], [*at, len(whole)], strict=True)):
        file = folder / f"__{number + 1}_0.distcp"
        torch.save(whole[start:stop].clone(), file)
        offsets = torch.Size([start] + [0] * (whole.ndim - 1))
        chunks.append(ChunkStorageMetadata(offsets, whole[start:stop].shape))
        info = type(template)(file.name, 0, file.stat().st_size)
        metadata.storage_data[MetadataIndex(name, offsets, number)] = info
    metadata.state_dict_metadata[name].chunks = chunks
    describe(folder, metadata)


def test_every_tensor_has_the_bytes_that_were_saved(folder: Path) -> None:
    table = open_checkpoint(folder)
    assert table.format == "torch-distributed"
    assert set(table.tensors) == {"weight", "bias", "inner.scalar", "inner.nested.0"}  # `steps` is no tensor
    with TensorReader(table) as reader:
        assert (reader.read(table.tensors["weight"]) == STATE["weight"].numpy()).all()
        assert reader.read(table.tensors["inner.scalar"]) == np.float32(3.5)
        assert (reader.read(table.tensors["bias"]).astype(np.float32) == np.arange(7)).all()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_blocks_of_rows_read_as_one_tensor(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "saved"
    dcp.save(STATE, checkpoint_id=folder, no_dist=True)
    cut(folder, "weight", sorted(data.draw(st.sets(st.integers(1, 9), max_size=4))))
    start = data.draw(st.integers(0, 10))
    stop = data.draw(st.integers(start, 10))
    table = open_checkpoint(folder)
    tensor, expected = table.tensors["weight"], STATE["weight"].numpy()  # type: ignore[union-attr]
    with TensorReader(table) as reader:
        assert tensor.shape == (10, 6)
        assert (reader.read(tensor) == expected).all()
        assert (reader.read_rows(tensor, start, stop) == expected[start:stop]).all()


def test_a_process_without_rows_adds_nothing(folder: Path) -> None:
    cut(folder, "weight", [4, 10])
    table = open_checkpoint(folder)
    assert [piece.shape for piece in table.tensors["weight"].pieces] == [(4, 6), (6, 6)]


def test_a_missing_file_is_named(folder: Path) -> None:
    cut(folder, "weight", [4])
    (folder / "__2_0.distcp").unlink()
    with pytest.raises(MissingInput, match=r"__2_0\.distcp"):
        open_checkpoint(folder)


def lie_about(folder: Path, name: str, **fields: Any) -> None:
    metadata = described(folder)
    info = metadata.storage_data[MetadataIndex(name, [0] * STATE[name].ndim)]  # type: ignore[union-attr]
    for field, value in fields.items():
        setattr(info, field, value)
    describe(folder, metadata)


@pytest.mark.parametrize(
    ("field", "value", "refusal"),
    [
        ("relative_path", "../outside", HostileCheckpoint),
        ("relative_path", "/etc/hostname", HostileCheckpoint),
        ("relative_path", "", HostileCheckpoint),
        ("offset", 10**9, CorruptCheckpoint),
        ("offset", -1, CorruptCheckpoint),
        ("offset", "0", CorruptCheckpoint),
        ("length", 10**9, CorruptCheckpoint),
        ("length", 1, CorruptCheckpoint),
        ("transform_descriptors", ["zstd"], UnknownFormat),
    ],
)
def test_a_lie_about_where_a_chunk_lies_is_refused(
    folder: Path, field: str, value: object, refusal: type[WeightsmithError]
) -> None:
    lie_about(folder, "weight", **{field: value})
    with pytest.raises(refusal):
        open_checkpoint(folder)


@pytest.mark.parametrize("sizes", [(9, 6), (11, 6), (10, 5), (60,), (-10, 6), (2**40, 2**40)])
def test_a_lie_about_a_chunks_shape_is_refused(folder: Path, sizes: tuple[int, ...]) -> None:
    metadata = described(folder)
    metadata.state_dict_metadata["weight"].chunks[0] = ChunkStorageMetadata((0,) * len(sizes), sizes)  # type: ignore[arg-type]
    describe(folder, metadata)
    with pytest.raises((CorruptCheckpoint, UnknownFormat)):
        open_checkpoint(folder)


@pytest.mark.parametrize("at", [[4, 4], [4, 6]])
def test_chunks_with_a_gap_or_an_overlap_are_refused(folder: Path, at: list[int]) -> None:
    cut(folder, "weight", [4, 6])
    metadata = described(folder)
    chunks = metadata.state_dict_metadata["weight"].chunks
    metadata.state_dict_metadata["weight"].chunks = [chunks[0], chunks[2 if at == [4, 6] else 0]]
    describe(folder, metadata)
    with pytest.raises(CorruptCheckpoint, match="do not make up"):
        open_checkpoint(folder)


def test_metadata_that_names_code_is_refused_unrun(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (trap,)

    metadata = described(folder)
    metadata.planner_data = Trap()
    describe(folder, metadata)
    with pytest.raises(HostileCheckpoint, match="nothing was executed"):
        open_checkpoint(folder)
    assert not trap.exists()


@pytest.mark.parametrize(
    "value", [None, 7, [], {}, {"state_dict_metadata": {}}, Metadata({}), Metadata({}, None, {})]
)
def test_metadata_of_something_else_is_refused(folder: Path, value: object) -> None:
    describe(folder, value)
    with pytest.raises(CorruptCheckpoint):
        open_checkpoint(folder)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_change_to_the_metadata_is_read_or_refused(data: st.DataObject, saved: Path) -> None:
    raw = bytearray(ORIGINAL)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (saved / ".metadata").write_bytes(
        raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    )
    with contextlib.suppress(WeightsmithError):
        open_checkpoint(saved)


ORIGINAL = b""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    global ORIGINAL
    folder = tmp_path_factory.mktemp("fuzz") / "saved"
    dcp.save(STATE, checkpoint_id=folder, no_dist=True)
    ORIGINAL = (folder / ".metadata").read_bytes()
    return folder


def test_chunks_are_counted_however_they_are_named(folder: Path) -> None:
    """Thousands of tensors may share one description, and descriptions one list of chunks."""
    metadata = described(folder)
    one = metadata.state_dict_metadata["weight"]
    metadata.state_dict_metadata = {f"w{n}": one for n in range(torch_distributed._MOST_CHUNKS + 1)}
    describe(folder, metadata)
    refused_soon(folder, HostileCheckpoint, "chunks of tensors", "dcp_to_torch")


def test_an_archive_that_many_tensors_name_is_parsed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = described(folder)
    one, index = metadata.state_dict_metadata["weight"], MetadataIndex("weight", [0, 0])
    info = metadata.storage_data[index]
    for n in range(50):
        metadata.state_dict_metadata[f"w{n}"] = one
        metadata.storage_data[MetadataIndex(f"w{n}", [0, 0])] = info
    describe(folder, metadata)
    calls: list[str] = []
    real = torch_distributed.read_single_tensor
    monkeypatch.setattr(
        torch_distributed, "read_single_tensor", lambda file, name: (calls.append(name), real(file, name))[1]
    )
    table = open_checkpoint(folder)
    assert {f"w{n}" for n in range(50)} <= table.tensors.keys()
    assert all(name == tensor.name for name, tensor in table.tensors.items())
    assert sorted(calls) == ["bias", "inner.nested.0", "inner.scalar", "weight"]


@pytest.mark.parametrize("offset", [(2**2000,), (1,) * 33, (-1,), (True,), [0]])
def test_an_offset_that_no_tensor_has_is_no_key(offset: object) -> None:
    key = Inert("torch.distributed.checkpoint.metadata.MetadataIndex")
    key.state = {"fqn": "w", "offset": offset}
    assert DistributedVocabulary("x").key(key) is None
    key.state = {"fqn": "w", "offset": (0, 4)}
    assert DistributedVocabulary("x").key(key) == "0,4|w"
