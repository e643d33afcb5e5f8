"""What the reference writer wrote is written again byte for byte; sizes and shards follow the Hugging Face rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.convert.plan.header import lay_out
from weightsmith.convert.plan.shards import index, parse_size, split
from weightsmith.convert.protocol import Output
from weightsmith.errors import ConversionRefused

if TYPE_CHECKING:
    from pathlib import Path

MIXED = {
    "b.f64": torch.randn(3, dtype=torch.float64),
    "a.i64": torch.arange(5),
    "é.weight": torch.randn(2, 3),
    'quote".weight': torch.randn(2, 2),
    "c.bf16": torch.randn(7).bfloat16(),
    "d.f16": torch.randn(1, 1, 3).half(),
    "e.u8": torch.arange(3, dtype=torch.uint8),
    "f.bool": torch.tensor([True, False]),
    "g.i16": torch.arange(3, dtype=torch.int16),
    "h.scalar": torch.tensor(2.5),
    "i.empty": torch.empty(0, 4),
    "j.f8": torch.ones(3).to(torch.float8_e4m3fn),
    "k.c64": torch.randn(2, dtype=torch.complex64),
}


def test_every_dtype_is_written_as_the_reference_writer_does(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    save_file(MIXED, tmp_path / "source/model.safetensors", metadata={"format": "pt"})
    convert(tmp_path / "source", tmp_path / "out")
    ours = (tmp_path / "out/model.safetensors").read_bytes()
    assert ours == (tmp_path / "source/model.safetensors").read_bytes()


def test_tensors_stand_in_the_order_of_a_torch_file_and_at_multiples_of_their_size(tmp_path: Path) -> None:
    torch.save(MIXED, tmp_path / "pytorch_model.bin")
    convert(tmp_path / "pytorch_model.bin", tmp_path / "out")
    opened = open_checkpoint(tmp_path / "out")
    assert all(tensor.start % MIXED[name].itemsize == 0 for name, tensor in opened.tensors.items())
    sizes = [MIXED[name].itemsize for name in opened.tensors]
    assert sizes == sorted(sizes, reverse=True)
    for size in set(sizes):
        in_file = [name for name, tensor in MIXED.items() if tensor.itemsize == size]
        assert [name for name in opened.tensors if MIXED[name].itemsize == size] == in_file
    assert all(
        torch.equal(tensor, MIXED[name])
        for name, tensor in load_file(tmp_path / "out/model.safetensors").items()
    )


def test_the_order_of_the_input_is_kept_among_dtypes_of_a_size() -> None:
    outputs = [
        Output("b", "F32", (2,)),
        Output("a", "F32", (2,)),
        Output("c", "I64", (1,)),
        Output("d", "U8", (3,)),
        Output("e", "I32", (1,)),
    ]
    layout = lay_out(outputs)
    assert len(layout.header) % 8 == 0
    assert layout.starts["a"] % 4 == 0
    header = json.loads(layout.header[8:])
    assert list(header) == ["__metadata__", "c", "b", "a", "e", "d"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(16, 400))
def test_tensors_are_sharded_as_hugging_face_does(sizes: list[int], limit: int) -> None:
    tensors = {f"t{n}": torch.empty(size) for n, size in enumerate(sizes)}
    theirs = split_torch_state_dict_into_shards(
        tensors, filename_pattern="model{suffix}.safetensors", max_shard_size=limit
    )
    ours = split([Output(name, "F32", tuple(t.shape)) for name, t in tensors.items()], limit)
    assert {file: [o.name for o in held] for file, held in ours.items()} == {
        file: list(names) for file, names in theirs.filename_to_tensors.items()
    }
    written = index(ours)
    assert (written is not None) == theirs.is_sharded
    if written is not None:
        document = json.loads(written)
        assert document["weight_map"] == theirs.tensor_to_filename
        assert document["metadata"]["total_size"] == theirs.metadata["total_size"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5 * 10**9),
        ("500mb", 5 * 10**8),
        ("2GiB", 2**31),
        ("1.5kb", 1500),
        ("1234", 1234),
        ("1TiB", 2**40),
    ],
)
def test_sizes_are_read_as_written(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "5 parsecs", "-1GB", "0", "1e9", "nan", "1B", "999", "inf", "9" * 400, "2000000TB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConversionRefused, match="max-shard-size"):
        parse_size(text)
