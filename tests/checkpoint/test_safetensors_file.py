"""A safetensors file is read as the reference reads it, or refused where two readers could see two files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.checkpoint.forge import entry, safetensors
from tests.checkpoint.refusals import refused
from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint

FOUR = entry("F32", [4], 0, 16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_real_file_gives_the_table_of_the_reference_reader(path):
    tensors = {
        "a.weight": torch.randn(3, 5),
        "half": torch.randn(7).half(),
        "bf": torch.randn(2, 2, 2).bfloat16(),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "flags": torch.tensor([True, False]),
        "fp8": torch.randn(4).to(torch.float8_e4m3fn),
        "wide": torch.tensor([1 + 2j]).to(torch.complex64),
        "u16": torch.tensor([1, 65535]).to(torch.uint16),
        "模型.权重": torch.zeros(1),
    }
    save_file(tensors, path, metadata={"format": "pt", "note": "x"})
    table = open_checkpoint(path)
    assert table.format == "safetensors"
    assert table.metadata == {"format": "pt", "note": "x"}
    assert table.files == {"model.safetensors": path.stat().st_size}
    assert [problem.code for problem in table.problems] == ["empty-tensors"]
    raw = path.read_bytes()
    with safe_open(path, "pt") as reference:
        assert set(table.tensors) == set(reference.keys())
        for key, found in table.tensors.items():
            piece = reference.get_slice(key)
            assert found.dtype == piece.get_dtype() and list(found.shape) == piece.get_shape()
            assert found.contiguous
            stored = tensors[key].contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            assert raw[found.start : found.start + found.nbytes] == stored
    starts = [found.start for found in table.tensors.values()]
    assert starts == sorted(starts)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0,), (2, 0), (0, 4), (3, 0, 5), (1, 7, 1)])
def test_strides_are_those_of_torch(path, shape):
    save_file({"w": torch.zeros(shape), "more": torch.zeros(1)}, path)
    found = open_checkpoint(path).tensors["w"]
    assert found.strides == torch.zeros(shape).stride() and found.contiguous


def test_packed_four_bit_values_count_as_values(path):
    save_file({"w": torch.zeros(2, 4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}, path)
    found = open_checkpoint(path).tensors["w"]
    assert (found.dtype, found.shape, found.nbytes) == ("F4", (2, 8), 8)


def test_unaligned_tensors_are_read_and_reported(path):
    header = {"a": entry("U8", [1], 0, 1), "b": entry("F32", [1], 1, 5)}
    table = open_checkpoint(safetensors(path, header, bytes(5)))
    assert [problem.code for problem in table.problems] == ["unaligned"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"w": entry("F32", [4], 4, 20)}, "leaves a hole"),
        ({"a": FOUR, "b": entry("F32", [2], 8, 16)}, "overlaps"),
        ({"a": FOUR, "b": FOUR}, "overlaps"),
        ({"w": entry("F32", [5], 0, 16)}, "has 16 bytes, not 20"),
        ({"w": entry("F32", [4], 16, 0)}, "outside the file"),
        ({"w": entry("F32", [4], -16, 0)}, "outside the file"),
        ({"w": entry("F32", [4], 0, 2**63)}, "outside the file"),
        ({"w": entry("F32", [4], 0, 10**30)}, "outside the file"),
        ({"w": entry("F32", [4], 0.0, 16.0)}, "not two whole numbers"),
        ({"w": entry("F32", [4], False, 16)}, "not two whole numbers"),
        ({"w": {**FOUR, "data_offsets": [0, 8, 16]}}, "not two whole numbers"),
        ({"w": entry("F32", [0, 2**62], 0, 0)}, "2**48"),
        ({"w": entry("F32", [2**32, 2**32], 0, 16)}, "2**48"),
        ({"w": entry("F32", [-4], 0, 16)}, "negative"),
        ({"w": entry("F32", [True, 4], 0, 16)}, "whole numbers"),
        ({"w": entry("F32", ["4"], 0, 16)}, "whole numbers"),
        ({"w": entry("F32", [1] * 33 + [4], 0, 16)}, "34 axes"),
        ({"w": {**FOUR, "shape": 4}}, "no list"),
        ({"w": entry("F33", [4], 0, 16)}, "unknown dtype 'F33'"),
        ({"w": {**FOUR, "dtype": 7}}, "unknown dtype 7"),
        ({"w": {**FOUR, "dtype": ["F32"]}}, "unknown dtype"),
        ({"w": entry("F4", [31], 0, 16)}, "whole bytes"),
        ({"w": {**FOUR, "extra": 1}}, "not by dtype, shape and data_offsets"),
        ({"w": {"dtype": "F32"}}, "not by dtype, shape and data_offsets"),
        ({"w": 5}, "no object"),
        ({"w": FOUR, "__metadata__": {"a": 1}}, "other than text"),
        ({"w": FOUR, "__metadata__": []}, "no object"),
        ({"": FOUR}, "name of 0 characters"),
        ({"w" * 5000: FOUR}, "name of 5000 characters"),
        ({"a\0b": FOUR}, "control characters"),
        ({"a\x1b[2J": FOUR}, "control characters"),
        ({"\ud800": FOUR}, "surrogate"),
        ([FOUR], "starts with"),
    ],
)
def test_a_header_that_lies_is_refused(path, header, words):
    refused(safetensors(path, header, bytes(16)), CorruptCheckpoint, words)


@pytest.mark.parametrize("climbing", ["../w", "a/../../w", "a\\..\\w"])
def test_a_name_that_climbs_is_hostile(path, climbing):
    refused(safetensors(path, {climbing: FOUR}, bytes(16)), HostileCheckpoint, "climbs")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"w":%b,"w":%b}' % ((json.dumps(FOUR).encode(),) * 2), "key 'w' twice"),
        (b'{"w":{"dtype":"F32","dtype":"I32","shape":[4],"data_offsets":[0,16]}}', "key 'dtype' twice"),
        (b" " + json.dumps({"w": FOUR}).encode(), "reference reader accepts"),
        (json.dumps({"w": FOUR}).encode() + b"\n", "other than '}' and spaces"),
        (json.dumps({"w": FOUR}).encode() + b" x", "other than '}' and spaces"),
        (b'{"w":NaN}', "NaN"),
        (b'{"w":-Infinity}', "Infinity"),
        (b'{"w":' + b"[" * 200_000 + b"}", "nested too deeply"),
        (b'{"w":' + b'{"a":' * 200_000 + b"}", "nested too deeply"),
        (b'{"w":' + b"9" * 5000 + b"}", "integer of 5,000 digits"),
        (b'{"\xff":1}', "not UTF-8"),
        (b"{'w':1}", "no JSON"),
        (b"{}}", "no JSON"),
        (b"{", "other than '}'"),
    ],
)
def test_a_header_that_is_no_clean_json_is_refused(path, raw, words):
    refused(safetensors(path, raw, bytes(16)), CorruptCheckpoint, words)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, 5000])
def test_a_header_longer_than_allowed_or_than_the_file_is_refused(path, length):
    refused(safetensors(path, {"w": FOUR}, bytes(16), length=length), CorruptCheckpoint, f"{length:,}")


def test_forty_megabytes_of_header_are_refused_at_once(path):
    with path.open("wb") as file:
        file.write((40_000_000).to_bytes(8, "little") + b'{"')
        file.truncate(40_000_100)
    refused(path, CorruptCheckpoint, "other than '}'")


def test_a_header_that_is_longer_than_any_published_is_refused_unread(path):
    with path.open("wb") as file:
        file.write((100_000_000).to_bytes(8, "little") + b'{"')
        file.truncate(100_000_100)
    refused(path, HostileCheckpoint, "more than 40,000,000", "shards")


@pytest.mark.parametrize("unit", [b"[],", b"0,", b"{},", b"[[],0],"])
def test_a_header_of_millions_of_values_is_refused_before_it_is_built(path, unit):
    raw = b'{"a":[' + unit * (39_000_000 // len(unit)) + b"0]}"
    safetensors(path, raw)
    refused(path, CorruptCheckpoint, "more than 1,000,000 values", "shards")


def test_more_tensors_than_any_published_file_has_are_refused(path, monkeypatch):
    save_file({"a": torch.zeros(4), "b": torch.zeros(4)}, path, {"note": "1", "more": "2", "third": "3"})
    monkeypatch.setattr("weightsmith.checkpoint.safetensors_file.MOST_TENSORS_IN_FILE", 2)
    refused(path, HostileCheckpoint, "3 tensors or notes, more than 2")
    monkeypatch.setattr("weightsmith.checkpoint.safetensors_file.MOST_TENSORS_IN_FILE", 3)
    assert len(open_checkpoint(path).tensors) == 2


@pytest.mark.parametrize("cut", [1, 15, 16])
def test_a_truncated_download_says_how_much_is_missing(path, cut):
    save_file({"w": torch.zeros(4)}, path)
    path.write_bytes(path.read_bytes()[:-cut])
    refused(path, CorruptCheckpoint, f"{cut} bytes are missing", "download it again")


def test_bytes_behind_the_last_tensor_are_refused(path):
    save_file({"w": torch.zeros(4)}, path)
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, CorruptCheckpoint, "1 bytes follow")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9])
def test_a_stub_of_a_file_is_refused(path, size):
    path.write_bytes(b"\2\0\0\0\0\0\0\0{}"[:size])
    refused(path, CorruptCheckpoint)


def test_a_file_without_tensors_is_refused(path):
    refused(safetensors(path, {}), CorruptCheckpoint, "no tensors")
