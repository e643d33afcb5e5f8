"""Files that torch.save really wrote give torch's own names, dtypes, shapes, views and bytes."""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from tests.checkpoint.headers import write_headers_only
from tests.checkpoint.refusals import refused
from weightsmith.checkpoint import open_checkpoint, shared_groups
from weightsmith.checkpoint.data import TensorReader
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat

FORMATS = {"torch-zip": {}, "torch-legacy": {"_use_new_zipfile_serialization": False}}
BITS_OF = {torch.bfloat16: (torch.int16, ml_dtypes.bfloat16)} | {
    getattr(torch, name): (torch.uint8, getattr(ml_dtypes, name))
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
}


@pytest.fixture(params=FORMATS)
def save(request, tmp_path):
    """torch.save in either format; the fixture's value writes an object and opens the file."""

    def write(value, **more):
        path = tmp_path / "model.bin"
        torch.save(value, path, **FORMATS[request.param], **more)
        return path

    write.format = request.param
    return write


def as_numpy(tensor):
    """torch's values as the numpy array that TensorReader promises."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype in BITS_OF:
        bits, dtype = BITS_OF[tensor.dtype]
        return tensor.view(bits).numpy().view(dtype)
    return tensor.numpy()


def assert_same(path, expected):
    table = open_checkpoint(path)
    assert list(table.tensors) == list(expected)
    with TensorReader(table) as reader:
        for key, tensor in expected.items():
            found = table.tensors[key]
            assert found.shape == tuple(tensor.shape), key
            array, wanted = reader.read(found), as_numpy(tensor)
            assert array.dtype == wanted.dtype and array.flags["C_CONTIGUOUS"] and array.flags["OWNDATA"], key
            assert array.tobytes() == wanted.tobytes(), key
    return table


def test_every_dtype_is_read_bit_by_bit(save):
    numbers = torch.arange(-6, 6).reshape(3, 4)
    dtypes = [torch.float32, torch.float64, torch.float16, torch.int8, torch.int16, torch.int32, torch.int64]
    dtypes += [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64, *BITS_OF]
    expected = {str(dtype): numbers.to(dtype) for dtype in dtypes}
    table = assert_same(save(expected), expected)
    assert table.format == save.format and not table.problems


def test_views_keep_their_offsets_and_strides(save):
    base = torch.arange(120.0).reshape(2, 3, 20)
    expected = {
        "base": base,
        "transposed": base.permute(2, 0, 1),
        "sliced": base[1:, ::2, 3:19:4],
        "row": base[1, 2],
        "element": base[1, 1, 1],
        "expanded": torch.arange(3.0)[:, None].expand(3, 5),
        "one-wide": base[:, :1, :],
        "nothing": base[2:],
    }
    table = assert_same(save(expected), expected)
    assert table.tensors["transposed"].strides == (1, 60, 20)
    assert table.tensors["expanded"].strides == (1, 0)
    assert {view.storage for name, view in table.tensors.items() if name not in ("expanded",)} == {
        table.tensors["base"].storage
    }


def test_tied_weights_share_their_bytes(save):
    weight = nn.Parameter(torch.randn(4, 4))
    path = save({"embed.weight": weight, "norm": torch.ones(4), "lm_head.weight": weight})
    assert shared_groups(open_checkpoint(path)) == [("embed.weight", "lm_head.weight")]


def test_a_module_s_state_dict_is_read(save):
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2, bias=False))
    module[0].weight.note = "a Python attribute on a parameter"
    assert_same(save(module.state_dict()), module.state_dict())
    assert_same(save(dict(module.named_parameters())), dict(module.named_parameters()))
    # With keep_vars the attribute is saved too: _rebuild_parameter_with_state.
    assert_same(save(module.state_dict(keep_vars=True)), module.state_dict(keep_vars=True))


def test_a_tensor_with_attributes_is_read(save):
    tensor = torch.randn(3)
    tensor.note = {"scale": 2}
    assert_same(save({"w": tensor}), {"w": tensor})


@pytest.mark.parametrize("protocol", range(1, 6))  # torch.load cannot read what torch.save writes with 0
def test_every_pickle_protocol_is_read(save, protocol):
    expected = OrderedDict([(f"层.{i}", torch.randn(2, 3)) for i in range(300)])
    assert_same(save(expected, pickle_protocol=protocol), expected)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "module", "model_state_dict"])
def test_a_wrapped_state_dict_is_entered_and_said_so(save, wrapper):
    weights = {"w": torch.randn(2), "b": torch.randn(3)}
    path = save({"epoch": 3, "step": torch.tensor(7), wrapper: weights, "best": np.float64(0.5)})
    table = assert_same(path, weights)
    assert [problem.code for problem in table.problems] == ["nested"]
    assert wrapper in table.problems[0].message


def test_a_training_checkpoint_s_other_values_are_stepped_over(save):
    value = {
        "weight": torch.randn(2),
        "epoch": 3,
        "lr": 1e-4,
        "names": ["a", "b"],
        "ids": {1, 2},
        "frozen": frozenset({1}),
        "big": 10**30,
        "blob": b"\x00\xff",
        "none": None,
        "flag": True,
        "history": np.arange(3.0),
        "best": np.float32(1.5),
        "counts": defaultdict(list, {"a": [1]}),
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.bfloat16,
        "complex": 1 + 2j,
        (0, 1): "a key that is no text",
        7: torch.zeros(1),
    }
    assert_same(save(value), {"weight": value["weight"]})


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (torch.eye(3).to_sparse(), UnknownFormat, "sparse"),
        (torch.zeros(2, dtype=torch.complex64).conj(), UnknownFormat, "conjugated"),
        (torch.zeros(2, dtype=torch.complex128), UnknownFormat, "complex128"),
        (torch.empty(3, device="meta"), CorruptCheckpoint, "meta"),
        (nn.Linear(2, 2), HostileCheckpoint, "torch.nn.modules.linear.Linear"),
        (sys.exit, HostileCheckpoint, "sys.exit"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_plain_weight_is_refused_by_name(save, value, kind, words):
    refused(save({"w": value}), kind, words)


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_tensor_is_refused_by_name(save):
    value = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)
    refused(save({"w": value}), UnknownFormat, "dequantize")


@pytest.mark.parametrize(
    "value", [torch.zeros(2), [torch.zeros(2)], {}, {"a": 1}, 7, "text", {"x": {"y": torch.zeros(1)}}]
)
def test_a_file_without_a_state_dict_says_what_it_holds(save, value):
    refused(save(value), UnknownFormat, "torch.save(model.state_dict()")


@pytest.mark.parametrize("cut", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_torch_file_is_refused(save, cut):
    path = save({f"w{i}": torch.randn(100) for i in range(20)})
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * cut)])
    refused(path, CorruptCheckpoint)


def test_bytes_behind_a_torch_file_are_refused(save):
    path = save({"w": torch.randn(100)})
    path.write_bytes(path.read_bytes() + b"more")
    refused(path, CorruptCheckpoint)


def test_packed_four_bit_values_count_as_values(tmp_path):
    packed = torch.arange(8, dtype=torch.uint8).view(2, 4)
    torch.save({"w": packed.view(torch.float4_e2m1fn_x2)}, tmp_path / "w.pt")
    table = open_checkpoint(tmp_path / "w.pt")
    assert (table.tensors["w"].dtype, table.tensors["w"].shape) == ("F4", (2, 8))
    with TensorReader(table) as reader:
        assert reader.read(table.tensors["w"]).tolist() == list(range(8))


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "model.pt")
    refused(tmp_path / "model.pt", UnknownFormat, "TorchScript")


@pytest.mark.parametrize("shape", [(3 << 30,), (50_000, 65_536)])
def test_a_storage_beyond_four_gigabytes_is_found_by_zip64(tmp_path, shape):
    write_headers_only(tmp_path / "huge", {"first": shape, "second": (7,)}, format="bin")
    table = open_checkpoint(tmp_path / "huge")
    assert table.tensors["first"].shape == shape and table.nbytes > 5 << 30
    with TensorReader(table) as reader:
        assert reader.read(table.tensors["second"]).tolist() == [0] * 7
        assert reader.read_rows(table.tensors["first"], shape[0] - 1, shape[0]).max() == 0


def test_an_archive_without_checksums_or_alignment_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(5)}, tmp_path / "w.bin")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(tmp_path / "w.bin", {"w": torch.arange(5)})
