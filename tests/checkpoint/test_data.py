"""TensorReader gives the bytes that the table describes, as own arrays, and notices a file that changed."""

from __future__ import annotations

import mmap
import threading
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoint import forge
from tests.checkpoint.headers import write_headers_only
from weightsmith.checkpoint import open_checkpoint, shared_groups
from weightsmith.checkpoint.data import TensorReader, numpy_dtype
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.errors import CorruptCheckpoint, MissingInput, WeightsmithError


@pytest.fixture
def views(tmp_path):
    """(checkpoint, expected arrays) of strided views in a torch file."""
    base = torch.arange(24 * 10).reshape(24, 10).short()
    tensors = {
        "base": base,
        "columns": base[:, 3:5],
        "transposed": base.T,
        "steps": base[4::7, ::3],
        "expanded": base[0].expand(5, 10),
        "scalar": base[3, 3],
        "empty": base[:0],
        "hollow": base[:, :0],
    }
    torch.save(tensors, tmp_path / "model.bin")
    return open_checkpoint(tmp_path), {name: tensor.numpy() for name, tensor in tensors.items()}


def test_rows_are_a_slice_of_the_whole(views):
    table, expected = views
    with TensorReader(table) as reader:
        for name, array in expected.items():
            if array.ndim:
                count = len(array)
                for start, stop in ((0, count), (0, 0), (count, count), (count // 2, count), (1, 2)):
                    if stop <= count:
                        found = reader.read_rows(table.tensors[name], start, stop)
                        assert np.array_equal(found, array[start:stop]) and found.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("rows", [(-1, 1), (0, 25), (3, 2)])
def test_rows_outside_the_tensor_are_a_mistake_of_the_caller(views, rows):
    table, _ = views
    with TensorReader(table) as reader, pytest.raises(ValueError, match="rows"):
        reader.read_rows(table.tensors["base"], *rows)
    with TensorReader(table) as reader, pytest.raises(ValueError, match="rows"):
        reader.read_rows(table.tensors["scalar"], 0, 0)


def test_an_array_is_the_caller_s_own(views):
    table, expected = views
    with TensorReader(table) as reader:
        for name in expected:
            array = reader.read(table.tensors[name])
            array[...] = 7
            assert array.flags["OWNDATA"]
            assert np.array_equal(reader.read(table.tensors[name]), expected[name])


@pytest.mark.parametrize(
    "make", [bytearray, lambda n: memoryview(bytearray(n)), lambda n: mmap.mmap(-1, n), np.zeros]
)
def test_bytes_are_read_into_any_buffer(views, make):
    table, expected = views
    found = table.tensors["base"]
    buffer = make(found.nbytes) if make is not np.zeros else np.zeros((24, 10), np.int16)
    with TensorReader(table) as reader:
        reader.read_bytes_into(found, buffer)
        assert bytes(memoryview(buffer).cast("B")) == expected["base"].tobytes()
        with pytest.raises(ValueError, match="contiguous"):
            reader.read_bytes_into(table.tensors["transposed"], bytearray(found.nbytes))
        with pytest.raises(ValueError, match="buffer of 480 bytes"):
            reader.read_bytes_into(found, bytearray(found.nbytes + 1))


def test_reading_rows_of_a_large_tensor_costs_only_those_rows(tmp_path):
    write_headers_only(tmp_path, {"w": (1 << 20, 1024)}, dtype="F32")
    table = open_checkpoint(tmp_path)
    with TensorReader(table) as reader:
        reader.read_rows(table.tensors["w"], 0, 1)
        tracemalloc.start()
        assert reader.read_rows(table.tensors["w"], 999_000, 999_256).shape == (256, 1024)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * 256 * 1024 * 4 + 100_000
        tracemalloc.stop()


def test_a_tensor_larger_than_memory_is_one_line(tmp_path):
    write_headers_only(tmp_path, {"w": (1 << 42,)}, dtype="U8")
    table = open_checkpoint(tmp_path)
    with (
        TensorReader(table) as reader,
        pytest.raises(WeightsmithError, match="4,398,046,511,104 bytes of memory"),
    ):
        reader.read(table.tensors["w"])


def test_a_file_that_changed_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1000), "b": torch.zeros(1000)}, path)
    table = open_checkpoint(path)
    with TensorReader(table) as reader:
        reader.read(table.tensors["a"])
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 1)
        with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
            reader.read(table.tensors["b"])
        reader.close()
        with pytest.raises(CorruptCheckpoint, match="not the 8,"):
            reader.read(table.tensors["a"])
        path.unlink()
        with pytest.raises(MissingInput):
            reader.read(table.tensors["a"])


def test_damaged_booleans_are_not_passed_on(tmp_path):
    forge.safetensors(tmp_path / "w.safetensors", {"w": forge.entry("BOOL", [3], 0, 3)}, b"\0\1\2")
    table = open_checkpoint(tmp_path)
    with TensorReader(table) as reader, pytest.raises(CorruptCheckpoint, match="other than 0 and 1"):
        reader.read(table.tensors["w"])


def test_sub_byte_tensors_come_as_packed_bytes(tmp_path):
    header = {"a": forge.entry("F4", [4, 6], 0, 12), "b": forge.entry("F6_E2M3", [4], 12, 15)}
    forge.safetensors(tmp_path / "w.safetensors", header, bytes(range(15)))
    table = open_checkpoint(tmp_path)
    with TensorReader(table) as reader:
        assert reader.read(table.tensors["a"]).tolist() == list(range(12))
        assert reader.read(table.tensors["b"]).tolist() == [12, 13, 14]
        assert reader.read_rows(table.tensors["a"], 1, 3).tolist() == [3, 4, 5, 6, 7, 8]
        with pytest.raises(WeightsmithError, match="whole bytes"):
            reader.read_rows(table.tensors["b"], 0, 1)


def test_every_dtype_has_a_numpy_type_of_its_width():
    for dtype, bits in BITS.items():
        assert numpy_dtype(dtype).itemsize == max(1, bits // 8)


def test_threads_may_share_a_reader(views):
    table, expected = views
    faults = []

    def work(reader):
        for _ in range(50):
            for name, array in expected.items():
                if not np.array_equal(reader.read(table.tensors[name]), array):
                    faults.append(name)

    with TensorReader(table) as reader:
        threads = [threading.Thread(target=work, args=(reader,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults


def test_views_that_overlap_are_shared_and_neighbours_are_not(tmp_path):
    base = torch.arange(40.0)
    tensors = {
        "left": base[:20],
        "right": base[20:],
        "middle": base[19:21],
        "own": torch.zeros(3),
        "none": base[:0],
    }
    torch.save(tensors, tmp_path / "model.bin")
    assert shared_groups(open_checkpoint(tmp_path)) == [("left", "middle", "right")]
    tensors["inner"], tensors["later"] = base[1:3], base[10:12]
    del tensors["right"], tensors["middle"]
    torch.save(tensors, tmp_path / "model.bin")
    assert shared_groups(open_checkpoint(tmp_path)) == [("left", "inner", "later")]
    tensors = {"left": base[:20], "right": base[20:], "none": base[5:5]}
    torch.save(tensors, tmp_path / "model.bin")
    assert shared_groups(open_checkpoint(tmp_path)) == []
