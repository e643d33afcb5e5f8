"""Whatever bytes a file holds: a table that torch and safetensors agree with, or one line. Nothing else."""

from __future__ import annotations

import json
import pickle
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tests.checkpoint import forge
from weightsmith.checkpoint import Checkpoint, open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.errors import WeightsmithError

settings.register_profile("files", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("files")
SCRATCH = tempfile.TemporaryDirectory(prefix="any-bytes-")  # removed when the process ends
FOLDER = Path(SCRATCH.name)


def written(value, **more):
    path = FOLDER / "seed"
    torch.save(value, path, **more)
    return path.read_bytes()


BASE = torch.arange(12.0).reshape(3, 4)
TENSORS = {
    "a": BASE,
    "a.T": BASE.T,
    "b": torch.ones(5).bfloat16(),
    "c": torch.tensor(3),
    "d": torch.zeros(0, 2),
}
PLAIN = {name: tensor for name, tensor in TENSORS.items() if name != "a.T"}
HONEST = forge.program(forge.dictionary({"w": forge.tensor()}))
SEEDS = {
    "safetensors": save(PLAIN, {"format": "pt"}),
    "zip": written(TENSORS),
    "zip protocol 4": written(torch.nn.Linear(2, 2).state_dict(), pickle_protocol=4),
    "legacy": written(TENSORS, _use_new_zipfile_serialization=False),
    "forged zip": forge.torch_zip(FOLDER / "forged", HONEST).read_bytes(),
}


def outcome(raw, suffix=".bin"):
    """The checkpoint in `raw`, or None where it is refused by one line. Anything else fails the test."""
    path = FOLDER / f"model{suffix}"
    path.write_bytes(raw)
    try:
        table = open_checkpoint(path)
    except WeightsmithError as error:
        assert str(error).isprintable() and len(str(error)) < 1000, str(error)
        assert error.fact and error.way_out
        return None
    assert isinstance(table, Checkpoint)
    for name, tensor in table.tensors.items():
        assert name == tensor.name and len(tensor.shape) == len(tensor.strides)
        end = tensor.storage.start + tensor.storage.nbytes
        assert 0 <= tensor.storage.start <= end <= len(raw)
        assert tensor.storage.start <= tensor.start <= end
    assert all(problem.message.isprintable() for problem in table.problems)
    with TensorReader(table) as reader:
        for tensor in table.tensors.values():
            try:
                if tensor.nbytes < 1 << 20:
                    assert reader.read(tensor).nbytes == tensor.nbytes
            except WeightsmithError as error:
                assert "BOOL" in str(error)
    return table


edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "drop", "insert", "copy"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
        st.floats(0, 1, exclude_max=True),
    ),
    min_size=1,
    max_size=4,
)


def mutated(raw, changes):
    data = bytearray(raw)
    for kind, where, payload, other in changes:
        at = int(where * len(data))
        if kind == "flip" and data:
            data[at] ^= 1 << (payload[0] % 8)
        elif kind == "set":
            data[at : at + len(payload)] = payload
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + len(payload)]
        elif kind == "insert":
            data[at:at] = payload
        elif kind == "copy":
            start = int(other * len(data))
            data[at : at + len(payload)] = data[start : start + len(payload)]
    return bytes(data)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_seeds_themselves_are_read(seed):
    assert outcome(SEEDS[seed])


@pytest.mark.parametrize("seed", SEEDS)
@settings(max_examples=600)
@given(changes=edits)
def test_a_damaged_file_is_read_or_refused(seed, changes):
    outcome(mutated(SEEDS[seed], changes))


@settings(max_examples=500)
@given(
    raw=st.binary(max_size=400),
    start=st.sampled_from([b"", b"PK\3\4", b"\x80\2", b"\x80\4\x95", b"\x10" + bytes(7) + b"{"]),
)
def test_random_bytes_are_refused_or_read(raw, start):
    outcome(start + raw)


NAMES = [
    "torch.FloatStorage",
    "torch.float32",
    "torch.Size",
    "torch.Tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",
    "collections.OrderedDict",
    "builtins.set",
]
PIECES = [bytes([code]) for code in b"()t}]useaRb012QNldo\x81\x85\x86\x87\x88\x89\x93\x94"]
PIECES += [
    b"q\0",
    b"q\1",
    b"h\0",
    b"h\1",
    b"K\4",
    b"K\0",
    forge.text("w"),
    forge.text("storage"),
    forge.text("0"),
]
PIECES += [forge.storage(), forge.tensor(), forge.tensor((2, 2), (2, 1)), *map(forge.name, NAMES)]


@settings(max_examples=800)
@given(body=st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_program_of_allowed_opcodes_is_read_or_refused(body):
    path = forge.torch_zip(FOLDER / "program.bin", forge.program(b"".join(body)))
    outcome(path.read_bytes())


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["F32", "BF16", "U8"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
sizes = st.integers(-1, 9) | st.sampled_from([2**31, 2**62, 2**63, 2**64])
entries = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", "BOOL", "C64", "F33"]),
    "shape": st.lists(sizes, max_size=3),
    "data_offsets": st.lists(sizes, min_size=1, max_size=3),
})  # fmt: skip
headers = st.dictionaries(st.text(max_size=6) | st.just("__metadata__"), entries | values, max_size=4)


@settings(max_examples=800)
@given(header=headers | values, data=st.integers(0, 40))
def test_any_safetensors_header_is_read_or_refused_and_never_beyond_the_reference(header, data):
    raw = json.dumps(header).encode("utf-8", "surrogatepass")
    whole = len(raw).to_bytes(8, "little") + raw + bytes(data)
    table = outcome(whole, ".safetensors")
    if table:
        assert_reference_agrees(table)


@settings(max_examples=600)
@example(changes=[])
@given(changes=edits)
def test_what_is_read_from_a_damaged_safetensors_file_the_reference_reads_too(changes):
    table = outcome(mutated(SEEDS["safetensors"], changes), ".safetensors")
    if table:
        assert_reference_agrees(table)


def assert_reference_agrees(table):
    try:
        with safe_open(table.path, "pt") as reference:
            keys = set(reference.keys())
            slices = {name: reference.get_slice(name) for name in keys}
            assert keys == set(table.tensors)
            for name, piece in slices.items():
                assert piece.get_shape() == list(table.tensors[name].shape)
                assert piece.get_dtype() == table.tensors[name].dtype
    except SafetensorError as error:
        raise AssertionError(f"weightsmith reads what the reference refuses: {error}") from error


@pytest.mark.parametrize("seed", ["zip", "legacy", "forged zip"])
@settings(max_examples=300)
@example(changes=[])
@given(changes=edits)
def test_where_torch_reads_a_damaged_file_too_both_see_the_same(seed, changes):
    table = outcome(mutated(SEEDS[seed], changes))
    if table is None or any(problem.code == "nested" for problem in table.problems):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(table.path, weights_only=True)
    except (
        RuntimeError,
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        EOFError,
        AssertionError,
    ):
        return
    tensors = {
        name: value
        for name, value in loaded.items()
        if isinstance(value, torch.Tensor) and isinstance(name, str)
    }
    assert list(tensors) == list(table.tensors)
    for name, value in tensors.items():
        assert tuple(value.shape) == table.tensors[name].shape
        if value.numel():
            assert value.stride() == table.tensors[name].strides


@settings(max_examples=300)
@given(
    raw=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
)
def test_any_index_is_read_or_refused(raw):
    path = FOLDER / "model.safetensors.index.json"
    path.write_bytes(raw)
    with pytest.raises(WeightsmithError) as caught:
        open_checkpoint(path)
    assert str(caught.value).isprintable()


@settings(max_examples=200)
@given(
    weight_map=st.dictionaries(
        st.text(max_size=6), st.text(max_size=12) | st.sampled_from(["../x", "/etc/passwd"]), max_size=4
    )
)
def test_no_weight_map_leads_out_of_the_folder(weight_map):
    path = FOLDER / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(WeightsmithError):
        open_checkpoint(path)
