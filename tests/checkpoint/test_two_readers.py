"""One file, two readers: what torch and safetensors read as well, they read as we do; the rest is refused."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from tests.checkpoint import forge
from tests.checkpoint.refusals import refused
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.errors import CorruptCheckpoint, WeightsmithError

A, B = (struct.pack("<4f", *values) for values in ((1, 2, 3, 4), (9, 9, 9, 9)))


def pickled():
    """The data.pkl of one tensor "w" of four float32."""
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(4)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read("archive/data.pkl")


PICKLE = pickled()


def local(name, data, extra=b""):
    head = struct.pack(
        "<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), len(name), len(extra)
    )
    return head + name + extra + data


def central(name, data, at, extra=b"", comment=b""):
    sizes = struct.pack("<3I3H", zlib.crc32(data), len(data), len(data), len(name), len(extra), len(comment))
    head = struct.pack("<4s6H", b"PK\1\2", 20, 20, 0, 0, 0, 0) + sizes + struct.pack("<2H2I", 0, 0, 0, at)
    return head + name + extra + comment


def end(count, size, at):
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, at, 0)


def zip64(count, size, at, where):
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, at)
    return record + struct.pack("<4sIQI", b"PK\6\7", 0, where, 1)


class Archive:
    """Entries one after the other, and directories over any of them."""

    def __init__(self):
        self.raw, self.known = b"", {}

    def add(self, label, name, data, extra=b""):
        self.known[label] = (name, data, len(self.raw))
        self.raw += local(name, data, extra)

    def directory(self, *labels, **last):
        records = [central(*self.known[label]) for label in labels[:-1]]
        return b"".join([*records, central(*self.known[labels[-1]], **last)])


def two_models():
    archive = Archive()
    archive.add("version", b"archive/version", b"3\n")
    archive.add("pickle", b"archive/data.pkl", PICKLE)
    archive.add("A", b"archive/data/0", A)
    archive.add("B", b"archive/data/0", B)
    return archive


def fake_locator(place):
    """The classic records name A. A zip64 record, in a comment or an extra field of the last entry, names B."""
    archive = two_models()
    other = archive.directory("version", "pickle", "B")
    at_other = len(archive.raw)
    archive.raw += other
    begin = len(archive.raw)
    prefix = begin + len(archive.directory("version", "pickle", "A"))
    head = struct.pack("<HH", 0x99, 76) if place == "extra" else b""
    record = zip64(3, len(other), at_other, prefix + len(head))
    directory = archive.directory("version", "pickle", "A", **{place: head + record})
    return archive.raw + directory + end(3, len(directory), begin)


def of_torch(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, weights_only=True)


def of_weightsmith(path):
    table = open_checkpoint(path)
    with TensorReader(table) as reader:
        return {name: reader.read(tensor) for name, tensor in table.tensors.items()}


@pytest.mark.parametrize("place", ["comment", "extra"])
def test_a_zip64_locator_that_leads_elsewhere_is_refused(tmp_path, place):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(fake_locator(place))
    assert of_torch(path)["w"].tolist() == [9, 9, 9, 9]  # where the classic records say A
    refused(path, CorruptCheckpoint, "zip64")


def test_a_file_that_is_safetensors_and_a_zip_is_refused(tmp_path):
    length = int.from_bytes(b"PK\3\4", "little")
    header = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"__metadata__":{"x":"'
    archive = Archive()
    begin = 8 + length + 16
    entries = ((b"archive/version", b"3\n"), (b"archive/data.pkl", PICKLE), (b"archive/data/0", B))
    for name, data in entries:
        archive.known[name] = (name, data, begin + len(archive.raw))
        archive.raw += local(name, data)
    directory = archive.directory(*archive.known)
    for name in ("pytorch_model.bin", "weights"):
        path = tmp_path / name
        with path.open("wb") as file:
            file.write(b"PK\3\4\0\0\0\0" + header)
            file.write(b" " * (length - len(header) - 3) + b'"}}' + A)
            file.write(archive.raw + directory + end(3, len(directory), begin + len(archive.raw)))
        assert of_torch(path)["w"].tolist() == [9, 9, 9, 9]
        refused(path, CorruptCheckpoint, "two models", "*.safetensors")
        path.unlink()


def test_a_header_whose_length_spells_a_pickle_is_safetensors_by_its_name(tmp_path):
    """640 bytes of header are honest, and begin as a pickle of protocol 2 does."""
    path = tmp_path / "model.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'.ljust(640)
    forge.safetensors(path, header, A)
    assert path.read_bytes()[:2] == b"\x80\x02"
    with safe_open(path, "numpy") as theirs:
        assert (of_weightsmith(path)["w"] == theirs.get_tensor("w")).all()
    path.rename(tmp_path / "model.bin")
    refused(tmp_path / "model.bin", CorruptCheckpoint, "name it *.safetensors")


@pytest.mark.parametrize("blanks", [b" ", b"\n" * 600])
def test_blanks_before_a_header_hide_no_safetensors_file(tmp_path, blanks):
    """safetensors skips them; the file must not be taken for something else."""
    path = tmp_path / "model.safetensors"
    forge.safetensors(path, blanks + b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', A)
    with safe_open(path, "numpy") as theirs:
        assert list(theirs.keys()) == ["w"]
    refused(path, CorruptCheckpoint, "header starts with")


def test_torch_looks_into_the_folder_of_the_first_entry_alone(tmp_path):
    path = tmp_path / "m.bin"
    for first, folder in (
        ("other/x", "archive"),
        ("archive/x", "archive/inner"),
        ("x", "archive"),
        (None, None),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            if first:
                archive.writestr(first, b"")
            prefix = f"{folder}/" if folder else ""
            archive.writestr(f"{prefix}data.pkl", PICKLE)
            archive.writestr(f"{prefix}data/0", A)
            archive.writestr(f"{prefix}version", b"3\n")
        with pytest.raises(RuntimeError):
            of_torch(path)
        refused(path, CorruptCheckpoint, "torch would look for")


def test_a_zero_byte_does_not_end_a_name_for_one_reader_alone(tmp_path):
    path = tmp_path / "m.bin"
    archive = two_models()
    archive.add("zero", b"archive/data/0\0x", B)
    directory = archive.directory("version", "pickle", "A", "zero")
    path.write_bytes(archive.raw + directory + end(4, len(directory), len(archive.raw)))
    refused(path, CorruptCheckpoint, "zero byte")


def test_thousands_of_empty_extra_fields_are_not_walked(tmp_path):
    path = tmp_path / "m.bin"
    archive = two_models()
    extra = b"\x99\0\0\0" * 16_000 + struct.pack("<HHQ", 1, 8, 16)
    directory = bytearray(archive.directory("version", "pickle", "A", extra=extra))
    at = directory.rindex(b"PK\1\2")
    directory[at + 20 : at + 28] = b"\xff" * 8
    path.write_bytes(archive.raw + directory + end(3, len(directory), len(archive.raw)))
    refused(path, CorruptCheckpoint, "64 extra fields")


# Sound archives, changed: both read the same, or one of them refuses.


def sound():
    buffer = io.BytesIO()
    base = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": base, "t": base.T, "b": torch.ones(5).bfloat16(), "n": torch.tensor([7, -7])}, buffer)
    return buffer.getvalue()


SOUND = {"torch": sound(), "two": None}
SOUND["two"] = (lambda a: a.raw + (d := a.directory("version", "pickle", "A")) + end(3, len(d), len(a.raw)))(
    two_models()
)
MARKS = (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7")


@st.composite
def changed(draw):
    """An archive with a field of its records changed, bytes moved, or a record put where none was."""
    raw = bytearray(SOUND[draw(st.sampled_from(sorted(SOUND)))])
    for _ in range(draw(st.integers(1, 4))):
        mark = draw(st.sampled_from(MARKS))
        places = [at for at in range(len(raw)) if raw.startswith(mark, at)]
        at = draw(st.sampled_from(places)) if places else draw(st.integers(0, len(raw)))
        at += draw(st.integers(0, 56))
        kind = draw(st.sampled_from(["set", "number", "insert", "drop", "copy"]))
        if kind == "set":
            raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "number":
            number = draw(st.sampled_from([0, 1, 2, 16, 0xFFFF, 0xFFFFFFFF, len(raw), *places[:3]]))
            width = draw(st.sampled_from([2, 4, 8]))
            raw[at : at + width] = (number & (1 << 8 * width) - 1).to_bytes(width, "little")
        elif kind == "insert":
            raw[at:at] = draw(st.sampled_from([b"\0", b"PK", zip64(2, 100, 0, at), end(2, 100, 0), bytes(8)]))
        elif kind == "drop":
            del raw[at : at + draw(st.integers(1, 30))]
        else:
            start = draw(st.integers(0, len(raw)))
            raw[at:at] = raw[start : start + draw(st.integers(1, 120))]
    return bytes(raw)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=changed())
def test_what_both_read_is_equal_to_the_bit(tmp_path, raw):
    path = tmp_path / "m.bin"
    path.write_bytes(raw)
    try:
        ours = of_weightsmith(path)
    except WeightsmithError:
        return
    try:
        theirs = of_torch(path)
    except Exception:  # torch refuses in many ways
        return
    named = {name: tensor for name, tensor in theirs.items() if isinstance(tensor, torch.Tensor)}
    assert ours.keys() == named.keys()
    for name, array in ours.items():
        wanted = named[name].contiguous().view(torch.uint8 if named[name].dim() else named[name].dtype)
        assert array.tobytes() == wanted.numpy().tobytes(), name
