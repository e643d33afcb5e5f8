"""Pickles made to run code or to exhaust the machine: each is refused with one line, and nothing in it runs."""

from __future__ import annotations

import os
import pickle
import shutil
import time

import pytest
import torch

from tests.checkpoint import forge
from tests.checkpoint.refusals import refused, refused_soon, soon
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.pickle_state import MOST_STEPS
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat


class Payload:
    """What an attacker pickles: unpickling it calls `function(*args)`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.fixture
def marker(tmp_path):
    """A file that every payload tries to create, and that must not exist afterwards."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.bin"


def payloads(marker):
    return {
        "posix.system": Payload(os.system, f"touch {marker}"),
        "builtins.eval": Payload(eval, f"open({str(marker)!r}, 'w')"),
        "builtins.exec": Payload(exec, f"open({str(marker)!r}, 'w')"),
        "io.open": Payload(open, str(marker), "w"),
        "builtins.getattr": Payload(getattr, "text", "format"),
        "shutil.rmtree": Payload(shutil.rmtree, str(marker)),
        "torch.serialization.load": Payload(torch.load, str(marker)),
        "torch.hub.load": Payload(torch.hub.load, "x/y", "z"),
        "pickle.loads": Payload(pickle.loads, b"cposix\nsystem\n"),
        "torch.storage._load_from_bytes": Payload(torch.storage._load_from_bytes, b"x"),
    }


@pytest.mark.parametrize("name", list(payloads("")))
@pytest.mark.parametrize("zipped", [True, False])
def test_a_payload_in_a_torch_file_is_named_and_not_run(path, marker, name, zipped):
    value = {"w": torch.zeros(2), "x": payloads(marker)[name]}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    shown = name.replace("posix.", f"{os.system.__module__}.")
    refused(path, HostileCheckpoint, f"'{shown}'", "nothing was executed")


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_payload_is_named_and_not_run(path, marker, protocol):
    path.write_bytes(pickle.dumps(payloads(marker)["posix.system"], protocol))
    refused(path, HostileCheckpoint, "system'", "nothing was executed")


@pytest.mark.parametrize("where", ["magic", "keys"])
def test_a_payload_in_any_of_the_legacy_pickles_is_not_run(path, marker, where):
    torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    evil = pickle.dumps(payloads(marker)["posix.system"], 2)
    if where == "magic":
        path.write_bytes(evil + raw)
    else:
        at = raw.rindex(b"\x80\x02")
        path.write_bytes(raw[:at] + evil + raw[at:])
    refused(path, HostileCheckpoint, "system'")


def test_a_pickle_hidden_in_a_storage_is_data(path, marker):
    evil = pickle.dumps(payloads(marker)["posix.system"], 2)
    torch.save({"w": torch.frombuffer(bytearray(evil), dtype=torch.uint8)}, path)
    assert open_checkpoint(path).tensors["w"].shape == (len(evil),)


def test_the_same_names_through_other_opcodes_are_refused(path, marker):
    touch = forge.text(f"touch {marker}")
    system = forge.text("os") + forge.text("system") + b"\x93"
    for body in (
        b"(" + touch + b"ios\nsystem\n",
        b"(" + forge.name("os.system") + touch + b"o",
        system + touch + b"\x85R",
        system + touch + b"\x85\x81",
        system + touch + b"\x85}\x92",
        b"\x82\x01" + touch + b"\x85R",
        b"Pos.system\n",
        b"\x97",
        forge.name("collections.OrderedDict") + b")R" + forge.name("os.system") + b"b",
        # A harmless name followed by attribute access in the name itself (protocol 4 splits at dots).
        forge.text("torch") + forge.text("serialization.os.system") + b"\x93" + touch + b"\x85R",
        forge.text("torch.Size.__class__") + forge.text("mro") + b"\x93",
    ):
        forge.torch_zip(path, forge.program(b"}" + forge.text("w") + body + b"s"))
        refused(path, HostileCheckpoint, "nothing was executed")


@pytest.mark.parametrize(
    "value",
    [
        forge.name("torch.FloatStorage") + b")R",
        forge.name("torch.float32") + b")R",
        forge.name("torch.Tensor") + b")R",
        forge.storage() + b")R",
        b"})R",
        forge.text("x") + b")R",
    ],
)
def test_calling_what_is_no_function_is_refused(path, value):
    forge.torch_zip(path, forge.program(forge.dictionary({"w": value})))
    refused(path, HostileCheckpoint, "calls", "nothing was executed")


@pytest.mark.parametrize("name", ["torchao.dtypes.AffineQuantizedTensor", "torch.distributed.tensor.DTensor"])
def test_another_package_s_tensors_are_no_attack_but_are_not_read(path, name):
    forge.torch_zip(path, forge.program(forge.name(name)))
    refused(path, UnknownFormat, name, "plain tensors")


def test_a_name_of_megabytes_is_shown_short_and_on_one_line(path):
    long = b"c" + b"a" * 1_000_000 + b"\n" + b"\x1b[31m\n"
    forge.torch_zip(path, forge.program(long))
    refused(path, HostileCheckpoint, "...")


# Bombs.


@pytest.mark.parametrize(
    "unit",
    [
        b"N0",
        b"}0",
        b"]q\0",
        b"((",
        b"N2",
        b"\x85",
        b"h\0",
        b"\x94",
        forge.name("torch.float32") + b"0",
        forge.name("collections.OrderedDict") + b")R0",
        b"(h\0h\1u0",
    ],
    ids=repr,
)
def test_millions_of_opcodes_end_soon(path, unit):
    start = forge.program(b"]q\0\x94")[:-1]
    body = unit * (2 * MOST_STEPS // max(1, len(unit)) + 1)
    forge.torch_zip(path, start + body)
    limit, start_time = soon(), time.process_time()
    with pytest.raises((HostileCheckpoint, CorruptCheckpoint)):
        open_checkpoint(path)
    assert time.process_time() - start_time < limit


def test_billions_of_laughs_are_neither_hashed_nor_printed(path):
    laughs = b")" + b"2\x86" * 100_000 + b"q\1"  # t = (t, t) a hundred thousand times
    lists = b"]q\2" + b"(h\2h\2e" * 1000  # a list that holds itself two thousand times
    body = forge.dictionary({"laughs": laughs, "lists": lists, "w": forge.tensor()})
    forge.torch_zip(path, forge.program(body))
    assert list(open_checkpoint(path).tensors) == ["w"]
    keyed = b"}" + laughs + forge.tensor() + b"s"
    forge.torch_zip(path, forge.program(keyed))
    refused_soon(path, UnknownFormat, "empty dictionary")
    called = laughs + b"h\1R"
    forge.torch_zip(path, forge.program(called))
    refused_soon(path, HostileCheckpoint, "calls")


def test_one_long_list_copied_many_times_is_refused(path):
    pairs = b"(" + (forge.text("a") + b"N\x86") * 10_000 + b"l\x85q\1"
    copies = (forge.name("collections.OrderedDict") + b"q\2" + b"h\1R0") + b"h\2h\1R0" * 100_000
    forge.torch_zip(path, forge.program(pairs + copies))
    refused_soon(path, HostileCheckpoint, "copies")


def test_one_long_dict_of_math_bits_is_not_walked_per_tensor(path):
    bits = b"}(" + b"".join(forge.text(str(i)) + b"N" for i in range(50_000)) + b"uq\1"
    arguments = b"(" + forge.storage() + b"K\0" + b")" + b")" + b"\x89}h\1tq\2"
    function = forge.name("torch._utils._rebuild_tensor_v2") + b"q\3"
    forge.torch_zip(path, forge.program(bits + function + arguments + b"R0" + b"h\3h\2R0" * 150_000))
    refused_soon(path, UnknownFormat, "holds no tensor")


def test_a_tensor_rebuilt_through_itself_is_refused(path):
    kind = forge.name("torch._tensor._rebuild_from_type_v2")
    nested = b")"
    for _ in range(900):
        nested = b"(" + kind + forge.name("torch.Tensor") + nested + b"Nt"
    forge.torch_zip(path, forge.program(forge.dictionary({"w": kind + nested + b"R"})))
    refused(path, CorruptCheckpoint, "unknown function")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x8b\xff\xff\xff\x7f", "integer of 2,147,483,647 bytes"),
        (b"I" + b"9" * 5000 + b"\n", "5,000 digits"),
        (b"\x8a\xff" + bytes(10), "ends inside"),
        (b"X\xff\xff\xff\x7f", "ends inside"),
        (b"\x8d" + b"\xff" * 8, "ends inside"),
        (b"\x95" + b"\xff" * 8, "ends inside"),
        (b"X\x02\0\0\0\xff\xfe", "not UTF-8"),
        (b"h\x07", "never stored"),
        (b"0" * 5, "no mark"),
        (b"s", "empty stack"),
        (b"N\x86", "empty stack"),
        (b"q\0", "empty stack"),
        (b"}Na", "appends to a dict"),
        (b"]NNs", "sets items of a list"),
        (b"}(Nu", "key without a value"),
        (b"]}b", "state of a list"),
        (forge.name("collections.OrderedDict") + b"NR", "instead of a tuple"),
        (b"NN\x93", "other than text"),
        (b"\x80\x09", "protocol 9"),
        (b"", "ends inside"),
    ],
)
def test_a_broken_pickle_says_where(path, value, words):
    forge.torch_zip(path, b"\x80\x02" + value)
    refused(path, (CorruptCheckpoint, HostileCheckpoint), words)
