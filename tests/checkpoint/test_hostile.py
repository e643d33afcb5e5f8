"""Files made to harm: each is refused with one line that names what was found, and nothing in it ever runs."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import time
import zipfile

import pytest
import torch

from tests.checkpoint import forge
from tests.checkpoint.refusals import refused
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.pickle_state import MOST_STEPS
from weightsmith.checkpoint.state_dict import LARGEST_EXPANDED
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat

SECONDS = 6.0  # CPU time on two shared cores; 1 to 2 s alone


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


def test_a_name_of_megabytes_is_shown_short_and_on_one_line(path):
    long = b"c" + b"a" * 1_000_000 + b"\n" + b"\x1b[31m\n"
    forge.torch_zip(path, forge.program(long))
    refused(path, HostileCheckpoint, "...")


# Bombs.


def timed(path, kind, *words):
    start = time.process_time()
    refused(path, kind, *words)
    assert time.process_time() - start < SECONDS


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
    start_time = time.process_time()
    with pytest.raises((HostileCheckpoint, CorruptCheckpoint)):
        open_checkpoint(path)
    assert time.process_time() - start_time < SECONDS


def test_billions_of_laughs_are_neither_hashed_nor_printed(path):
    laughs = b")" + b"2\x86" * 100_000 + b"q\1"  # t = (t, t) a hundred thousand times
    lists = b"]q\2" + b"(h\2h\2e" * 1000  # a list that holds itself two thousand times
    body = forge.dictionary({"laughs": laughs, "lists": lists, "w": forge.tensor()})
    forge.torch_zip(path, forge.program(body))
    assert list(open_checkpoint(path).tensors) == ["w"]
    keyed = b"}" + laughs + forge.tensor() + b"s"
    forge.torch_zip(path, forge.program(keyed))
    timed(path, UnknownFormat, "empty dictionary")
    called = laughs + b"h\1R"
    forge.torch_zip(path, forge.program(called))
    timed(path, HostileCheckpoint, "calls")


def test_one_long_list_copied_many_times_is_refused(path):
    pairs = b"(" + (forge.text("a") + b"N\x86") * 10_000 + b"l\x85q\1"
    copies = (forge.name("collections.OrderedDict") + b"q\2" + b"h\1R0") + b"h\2h\1R0" * 100_000
    forge.torch_zip(path, forge.program(pairs + copies))
    timed(path, HostileCheckpoint, "copies")


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
        (b"\x80\x09", "protocol 9"),
        (b"", "ends inside"),
    ],
)
def test_a_broken_pickle_says_where(path, value, words):
    forge.torch_zip(path, b"\x80\x02" + value)
    refused(path, (CorruptCheckpoint, HostileCheckpoint), words)


# Lies about storages.


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (forge.tensor((5,)), "ends at element 5 of a storage of 4"),
        (forge.tensor((2, 2), (4, 1)), "ends at element 6"),
        (forge.tensor((4,), offset=1), "ends at element 5"),
        (forge.tensor((1,), offset=2**62), "ends at element"),
        (forge.tensor((4,), offset=-1), "element -1"),
        (forge.tensor((4,), offset=2**63), "element 9223372036854775808"),
        (forge.tensor((4,), strides=(-1,)), "negative"),
        (forge.tensor((4,), strides=(2**63,)), "too large"),
        (forge.tensor((2,), strides=(2**63 - 1,)), "ends at element"),
        (forge.tensor((4,), strides=(1, 1)), "another number"),
        (forge.tensor((-4,)), "negative"),
        (forge.tensor((0, 2**62), (1, 1)), "2**48"),
        (forge.tensor((2**40, 2**40), (0, 0)), "2**48"),
        (forge.tensor((1,) * 40, (1,) * 40), "40 axes"),
        (forge.tensor(source=forge.storage(numel=400)), "has 16 bytes, not 400 elements"),
        (forge.tensor(source=forge.storage(numel=2)), "has 16 bytes, not 2 elements"),
        (forge.tensor(source=forge.storage(numel=-4)), "-4 elements"),
        (forge.tensor(source=forge.storage(numel=2**70)), "elements"),
        (forge.tensor(source=forge.storage("9")), "'9' is not in the archive"),
        (forge.tensor(source=forge.storage("../data/0")), "is not in the archive"),
        (forge.tensor(source=forge.storage("/etc/passwd")), "is not in the archive"),
        (forge.tensor(source=b"N"), "other than a storage"),
        (forge.tensor(source=b"(" + forge.text("storage") + b"tQ"), "persistent id"),
        (forge.tensor(source=forge.text("storage") + b"Q"), "persistent id"),
        (forge.tensor(rebuild="torch._utils._rebuild_parameter"), "other than a tensor"),
        (forge.tensor(rebuild="torch._utils._rebuild_tensor_v3"), "without a dtype"),
        (forge.tensor(rebuild="torch._utils._rebuild_meta_tensor_no_storage"), "malformed"),
    ],
)
def test_a_view_outside_its_storage_is_refused(path, tensor, words):
    forge.torch_zip(path, forge.program(forge.dictionary({"w": tensor})))
    refused(path, CorruptCheckpoint, words)


def test_four_bytes_expanded_to_terabytes_are_refused(path):
    big = forge.tensor((LARGEST_EXPANDED // 4 + 1,), (0,))
    forge.torch_zip(path, forge.program(forge.dictionary({"w": big})))
    refused(path, HostileCheckpoint, "expands 16 bytes")


def test_one_storage_described_in_two_ways_is_refused(path):
    other = forge.tensor((2,), source=forge.storage(kind="torch.DoubleStorage", numel=2))
    forge.torch_zip(path, forge.program(forge.dictionary({"a": forge.tensor(), "b": other})))
    refused(path, CorruptCheckpoint, "in two ways")


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "\ud800"])
def test_a_tensor_name_no_terminal_should_see_is_refused(path, name):
    forge.torch_zip(path, forge.program(forge.dictionary({name: forge.tensor()})))
    refused(path, CorruptCheckpoint)


def test_a_tensor_name_that_climbs_is_refused(path):
    forge.torch_zip(path, forge.program(forge.dictionary({"../../w": forge.tensor()})))
    refused(path, HostileCheckpoint, "climbs")


# Lies in the zip.

HONEST = forge.program(forge.dictionary({"w": forge.tensor()}))


def test_the_forged_zip_is_readable_when_it_is_honest(path):
    found = open_checkpoint(forge.torch_zip(path, HONEST)).tensors["w"]
    assert (found.shape, found.dtype, found.nbytes) == ((4,), "F32", 16)


def test_a_compressed_archive_is_refused(path):
    forge.torch_zip(path, HONEST, compression=zipfile.ZIP_DEFLATED)
    refused(path, CorruptCheckpoint, "compressed", "zip -0")


def test_a_zip_bomb_is_not_unpacked(path):
    forge.torch_zip(path, HONEST, {"0": bytes(200_000_000)}, compression=zipfile.ZIP_DEFLATED)
    timed(path, CorruptCheckpoint, "compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_exists_twice_is_refused(path):
    forge.torch_zip(path, HONEST, extra={"archive/data/0": bytes(16)})
    refused(path, CorruptCheckpoint, "exists twice")


def test_two_pickles_are_refused(path):
    forge.torch_zip(path, HONEST, extra={"other/data.pkl": HONEST})
    refused(path, CorruptCheckpoint, "2 pickles")


def test_names_that_climb_inside_the_zip_lead_nowhere(path):
    forge.torch_zip(path, HONEST, extra={"../../evil": b"x", "/etc/evil": b"x"})
    assert list(open_checkpoint(path).tensors) == ["w"]
    assert sorted(item.name for item in path.parent.iterdir()) == ["model.bin"]


def test_a_big_endian_file_is_refused(path):
    forge.torch_zip(path, HONEST, extra={"archive/byteorder": b"big"})
    refused(path, UnknownFormat, "big-endian")


def test_a_zip_of_something_else_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "hello")
    refused(path, UnknownFormat, "torch did not write", "word/document.xml")


def patched(path, pattern, offset, value, last=False):
    """Overwrites bytes at `offset` behind the first (or last) occurrence of a zip signature."""
    raw = bytearray(path.read_bytes())
    at = (raw.rindex if last else raw.index)(pattern) + offset
    raw[at : at + len(value)] = value
    path.write_bytes(raw)


LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


@pytest.mark.parametrize(
    ("where", "offset", "value", "words"),
    [
        (LOCAL, 30, b"x", "another name"),
        (LOCAL, 26, b"\1\0", "another name"),
        (LOCAL, 8, b"\x08\0", "otherwise than the directory"),
        (LOCAL, 6, b"\1\0", "otherwise than the directory"),
        (LOCAL, 22, b"\1\0\0\0", "another size"),
        (LOCAL, 28, b"\xff\xff", ""),
        (LOCAL, 0, b"XX", ""),
        (CENTRAL, 46, b"x", "another name"),
        (CENTRAL, 8, b"\1\0", "encrypted"),
        (CENTRAL, 24, b"\xff\0\0\0", "two sizes"),
        (CENTRAL, 20, b"\xff\xff\xff\xff", "zip64"),
        (CENTRAL, 42, b"\xff\xff\xff\x7f", "outside the file"),
        (CENTRAL, 34, b"\1\0", "malformed"),
        (CENTRAL, 0, b"XX", "malformed"),
        (END, 4, b"\1\0", "split"),
        (END, 8, b"\x09\0", "split"),
        (END, 8, b"\x09\0\x09\0", "inside an entry"),
        (END, 8, b"\2\0\2\0", "beyond its 2 entries"),
        (END, 12, b"\1\0\0\0", ""),
        (END, 16, b"\xff\xff\xff\xff", "zip64"),
        (END, 20, b"\1\0", "truncated"),
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(path, where, offset, value, words):
    forge.torch_zip(path, HONEST)
    patched(path, where, offset, value)
    refused(path, (CorruptCheckpoint, UnknownFormat), words)


def test_entries_that_share_bytes_are_refused(path):
    """The second storage's directory entry points at the first one's bytes."""
    forge.torch_zip(path, HONEST, {"0": bytes(16), "1": bytes(16)})
    raw = path.read_bytes()
    first = raw.index(b"archive/data/0") - 30
    entry = raw.rindex(b"archive/data/1") - 46
    patched_raw = bytearray(raw)
    patched_raw[entry + 42 : entry + 46] = struct.pack("<I", first)
    path.write_bytes(patched_raw)
    refused(path, CorruptCheckpoint, "overlaps")


def test_an_entry_that_runs_into_the_next_is_refused(path):
    forge.torch_zip(path, HONEST)
    raw = bytearray(path.read_bytes())
    local, central = raw.index(b"archive/data/0") - 30, raw.rindex(b"archive/data/0") - 46
    for at in (local + 18, local + 22, central + 20, central + 24):
        raw[at : at + 4] = struct.pack("<I", 24)
    path.write_bytes(raw)
    refused(path, CorruptCheckpoint, "overlaps")


def test_a_directory_of_millions_of_entries_is_not_walked(path):
    forge.torch_zip(path, HONEST)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**40, 2**40, 2**50, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, path.stat().st_size, 1)
    end = struct.pack("<4s4H2IH", END, 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 0, 0)
    path.write_bytes(path.read_bytes() + record + locator + end)
    timed(path, CorruptCheckpoint, "more than torch writes")


# Lies in legacy files.


def legacy(path, pickle_bytes, keys=("0",), tail=b"\4" + bytes(23), little=True):
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little}]
    raw = b"".join(pickle.dumps(value, 2) for value in head)
    path.write_bytes(raw + pickle_bytes + pickle.dumps(list(keys), 2) + tail)
    return path


def test_the_forged_legacy_file_is_readable_when_it_is_honest(path):
    assert open_checkpoint(legacy(path, HONEST)).format == "torch-legacy"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"keys": ("0", "0")}, "twice"),
        ({"keys": ("1",)}, "do not mention it"),
        ({"keys": (), "tail": b""}, "is not in the file"),
        ({"keys": (0,)}, "malformed"),
        ({"tail": struct.pack("<q", 5) + bytes(20)}, "states 5 elements, the pickle 4"),
        ({"tail": struct.pack("<q", -4) + bytes(16)}, "states -4 elements"),
        ({"tail": struct.pack("<q", 4) + bytes(15)}, "truncated"),
        ({"tail": struct.pack("<q", 4) + bytes(17)}, "1 bytes follow"),
        ({"tail": b""}, "truncated"),
    ],
)
def test_a_legacy_file_whose_storages_lie_is_refused(path, more, words):
    refused(legacy(path, HONEST, **more), CorruptCheckpoint, words)


def test_a_big_endian_legacy_file_is_refused(path):
    refused(legacy(path, HONEST, little=False), UnknownFormat, "big-endian")


def test_a_legacy_view_beyond_its_root_is_refused(path):
    def viewed(first, count):
        window = b"(" + forge.text("v") + forge.number(first) + forge.number(count) + b"t"
        parts = forge.text("storage") + forge.name("torch.FloatStorage") + forge.text("0") + forge.text("cpu")
        return forge.tensor((2,), source=b"(" + parts + forge.number(4) + window + b"tQ")

    legacy(path, forge.program(forge.dictionary({"w": viewed(2, 2)})))
    found = open_checkpoint(path).tensors["w"]
    assert found.storage.nbytes == 8 and found.start == path.stat().st_size - 8
    refused(
        legacy(path, forge.program(forge.dictionary({"w": viewed(3, 2)}))),
        CorruptCheckpoint,
        "beyond its end",
    )


def test_a_plain_pickle_is_no_checkpoint(path):
    path.write_bytes(pickle.dumps({"w": [1.0, 2.0]}))
    refused(path, UnknownFormat, "not one that torch.save wrote")


def test_legacy_pickles_that_never_end_are_refused(path):
    torch.save({"w": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    at = raw.index(b"\x80\x02}")
    with path.open("wb") as file:
        file.write(raw[:at] + b"\x80\x02\x8e" + (2**40).to_bytes(8, "little"))
        file.truncate(2**41)
    timed(path, HostileCheckpoint, "do not end")
