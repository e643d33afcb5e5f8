"""Torch files whose pickle, archive or storages contradict each other: each is refused with one line."""

from __future__ import annotations

import pickle
import struct
import zipfile

import pytest
import torch

from tests.checkpoint import forge
from tests.checkpoint.refusals import refused, refused_soon
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.state_dict import LARGEST_EXPANDED
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.bin"


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
    refused_soon(path, CorruptCheckpoint, "compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_exists_twice_is_refused(path):
    forge.torch_zip(path, HONEST, extra={"archive/data/0": bytes(16)})
    refused(path, CorruptCheckpoint, "exists twice")


def test_entries_that_differ_only_in_case_are_refused(path):
    forge.torch_zip(path, HONEST, extra={"archive/DATA.pkl": b"evil"})
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


@pytest.mark.parametrize(
    ("size", "words"), [(24, "overlaps"), (300, "past the archive's data"), (2**31, "past")]
)
def test_an_entry_that_runs_beyond_its_place_is_refused(path, size, words):
    forge.torch_zip(path, HONEST)
    raw = bytearray(path.read_bytes())
    local, central = raw.index(b"archive/data/0") - 30, raw.rindex(b"archive/data/0") - 46
    for at in (local + 18, local + 22, central + 20, central + 24):
        raw[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(raw)
    refused(path, CorruptCheckpoint, words)


@pytest.mark.parametrize(
    ("where", "offset", "value", "words"),
    [
        (b"PK\6\6", 0, b"XX", "malformed zip64"),
        (b"PK\6\6", 4, b"\x2d", "malformed zip64"),
        (b"PK\6\6", 16, b"\1", "split"),
        (b"PK\6\6", 24, b"\x63", "split"),
        (b"PK\6\6", 24, b"\x63" + bytes(7) + b"\x63", "contradicts"),
        (b"PK\6\6", 40, b"\1", "contradicts"),
        (b"PK\6\6", 48, b"\1", "contradicts"),
        (b"PK\6\7", 0, b"XX", "without its zip64 record"),
        (b"PK\6\7", 4, b"\1", "without its zip64 record"),
        (b"PK\6\7", 8, b"\xff" * 8, "without its zip64 record"),
        (b"PK\6\7", 16, b"\2", "without its zip64 record"),
    ],
)
def test_torch_s_zip64_records_must_agree(path, where, offset, value, words):
    torch.save({"w": torch.zeros(4)}, path)
    patched(path, where, offset, value, last=True)
    refused(path, CorruptCheckpoint, words)


def test_a_32_bit_record_may_leave_everything_to_the_zip64_record(path):
    torch.save({"w": torch.zeros(4)}, path)
    patched(path, END, 8, b"\xff" * 12)
    assert list(open_checkpoint(path).tensors) == ["w"]


@pytest.mark.parametrize("numbers", [0, 1])
def test_a_zip64_entry_without_its_sizes_is_refused(path, numbers):
    """The directory says "see the zip64 field" for both sizes, and that field is too short."""
    forge.torch_zip(path, HONEST)
    raw = bytearray(path.read_bytes())
    central, end = raw.index(CENTRAL), raw.rindex(END)
    extra = struct.pack("<HH", 1, 8 * numbers) + bytes(8 * numbers)
    name_length = struct.unpack_from("<H", raw, central + 28)[0]
    raw[central + 20 : central + 28] = b"\xff" * 8
    raw[central + 30 : central + 32] = struct.pack("<H", len(extra))
    raw[end + 12 : end + 16] = struct.pack("<I", struct.unpack_from("<I", raw, end + 12)[0] + len(extra))
    raw[central + 46 + name_length : central + 46 + name_length] = extra
    path.write_bytes(raw)
    refused(path, CorruptCheckpoint, "lacks its sizes")


def test_caps_on_the_archive_are_enforced(path, monkeypatch):
    forge.torch_zip(path, HONEST)
    for name, value, kind, words in (
        ("zip_directory.MOST_ENTRIES", 2, CorruptCheckpoint, "3 entries"),
        ("zip_directory.LARGEST_DIRECTORY", 9, CorruptCheckpoint, "more than torch writes"),
        ("torch_zip.LARGEST_PICKLE", 9, HostileCheckpoint, "more than 9"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"weightsmith.checkpoint.{name}", value)
            refused(path, kind, words)
    open_checkpoint(path)


def test_a_directory_of_millions_of_entries_is_not_walked(path):
    forge.torch_zip(path, HONEST)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**40, 2**40, 2**50, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, path.stat().st_size, 1)
    end = struct.pack("<4s4H2IH", END, 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 0, 0)
    path.write_bytes(path.read_bytes() + record + locator + end)
    refused_soon(path, CorruptCheckpoint, "more than torch writes")


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


def viewed(first, count):
    """Two elements of a storage that is a window on storage "0"."""
    window = b"(" + forge.text("v") + forge.number(first) + forge.number(count) + b"t"
    parts = forge.text("storage") + forge.name("torch.FloatStorage") + forge.text("0") + forge.text("cpu")
    return forge.tensor((2,), source=b"(" + parts + forge.number(4) + window + b"tQ")


def test_a_window_on_a_storage_is_refused_where_no_writer_makes_one(path):
    forge.torch_zip(path, forge.program(forge.dictionary({"w": viewed(2, 2)})))
    refused(path, CorruptCheckpoint, "only legacy files")


def test_a_legacy_view_beyond_its_root_is_refused(path):
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
    refused_soon(path, HostileCheckpoint, "do not end")
