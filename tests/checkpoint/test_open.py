"""Any path leads to one table or one line: which files of a folder count, and where index and shards disagree."""

from __future__ import annotations

import gc
import json
import os
import tarfile

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoint import forge
from tests.checkpoint.headers import write_headers_only
from tests.checkpoint.refusals import refused
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.folder import numbered
from weightsmith.errors import (
    CorruptCheckpoint,
    HostileCheckpoint,
    InvalidConfig,
    MissingInput,
    UnknownFormat,
    WeightsmithError,
)

INDEX = "model.safetensors.index.json"
SHAPES = {f"layer.{i}.weight": (4, 4 + i) for i in range(6)}


def codes(table):
    return [problem.code for problem in table.problems]


def edit_index(folder, change, name=INDEX):
    index = json.loads((folder / name).read_text())
    change(index)
    (folder / name).write_text(json.dumps(index))


@pytest.fixture
def sharded(tmp_path):
    """Three safetensors shards with a true index."""
    write_headers_only(tmp_path / "ckpt", SHAPES, shards=3)
    return tmp_path / "ckpt"


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 3])
def test_folder_index_and_file_lead_to_the_same_tensors(tmp_path, kind, shards):
    files = write_headers_only(tmp_path, SHAPES, format=kind, shards=shards)
    table = open_checkpoint(tmp_path)
    assert {name: tensor.shape for name, tensor in table.tensors.items()} == SHAPES
    assert table.format == {"safetensors": "safetensors", "bin": "torch-zip"}[kind]
    assert table.root == table.path == tmp_path
    assert table.files == {file.name: file.stat().st_size for file in files}
    assert not table.problems
    assert table.nbytes == sum(a * b * 2 for a, b in SHAPES.values())
    if shards == 1:
        assert table.index is None and open_checkpoint(files[0]).tensors == table.tensors
    else:
        assert table.index.endswith(".index.json")
        assert open_checkpoint(tmp_path / table.index).tensors == table.tensors
        (tmp_path / table.index).unlink()
        without = open_checkpoint(tmp_path)
        assert without.index is None and without.tensors == table.tensors


def test_a_path_as_text_works_and_relative_paths_too(sharded, monkeypatch):
    monkeypatch.chdir(sharded.parent)
    assert len(open_checkpoint("ckpt").tensors) == 6
    monkeypatch.chdir(sharded)
    assert len(open_checkpoint(INDEX).tensors) == 6


def test_one_shard_alone_says_that_it_is_one_of_several(sharded):
    table = open_checkpoint(sharded / "model-00002-of-00003.safetensors")
    assert list(table.tensors) == ["layer.2.weight", "layer.3.weight"]
    assert codes(table) == ["one-of-several-shards"]


def test_the_file_s_bytes_decide_not_its_name(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    assert open_checkpoint(tmp_path).format == "safetensors"
    torch.save({"w": torch.zeros(2)}, tmp_path / "w.safetensors")
    assert open_checkpoint(tmp_path / "w.safetensors").format == "torch-zip"


def test_shards_of_two_kinds_are_mixed(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    old = {"_use_new_zipfile_serialization": False}
    torch.save({"b": torch.zeros(2)}, tmp_path / "pytorch_model-00002-of-00002.bin", **old)
    assert open_checkpoint(tmp_path).format == "mixed"


def test_symbolic_links_of_a_hub_cache_are_followed(sharded, tmp_path):
    model = tmp_path / "models--org--name"
    blobs, snapshot = model / "blobs", model / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(sharded.iterdir())):
        file.rename(blobs / f"hash{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/hash{number}")
    assert len(open_checkpoint(snapshot).tensors) == 6
    (snapshot / "model-00001-of-00003.safetensors").resolve().unlink()
    error = refused(snapshot, MissingInput)
    assert "model-00001-of-00003.safetensors" in str(error)


# The folder's rules.


def test_safetensors_win_over_torch_files_and_that_is_said(tmp_path):
    write_headers_only(tmp_path, {"w": (2,)})
    write_headers_only(tmp_path, {"old": (2,)}, format="bin", shards=1)
    table = open_checkpoint(tmp_path)
    assert list(table.tensors) == ["w"] and codes(table) == ["two-formats"]


@pytest.mark.parametrize(
    "name",
    [
        "training_args.bin",
        "optimizer.bin",
        "optimizer.pt",
        "optimizer_1.bin",
        "scheduler.pt",
        "scheduler.bin",
        "scaler.pt",
        "rng_state.pth",
        "rng_state_7.pth",
        "random_states_0.pkl",
        "zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "sampler.bin",
    ],
)
def test_a_trainer_s_state_is_no_weights(tmp_path, name):
    torch.save({"state": torch.zeros(3)}, tmp_path / name)
    refused(tmp_path, UnknownFormat, "holds no weights")
    torch.save({"w": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    table = open_checkpoint(tmp_path)
    assert list(table.tensors) == ["w"] and not table.problems


@pytest.mark.parametrize("name", ["optimus-7b.bin", "samplers.pt", "schedulers.pth", "my-model.bin"])
def test_a_name_that_only_begins_like_a_trainer_s_state_is_weights(tmp_path, name):
    torch.save({"w": torch.zeros(2)}, tmp_path / name)
    assert list(open_checkpoint(tmp_path).tensors) == ["w"]


def test_the_usual_names_come_before_consolidated_and_adapters(tmp_path):
    for name in ("adapter_model", "consolidated", "model"):
        save_file({name: torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    table = open_checkpoint(tmp_path)
    assert list(table.tensors) == ["model"] and codes(table) == ["loaders-differ"]
    (tmp_path / "model.safetensors").unlink()
    assert list(open_checkpoint(tmp_path).tensors) == ["consolidated"]
    (tmp_path / "consolidated.safetensors").unlink()
    assert list(open_checkpoint(tmp_path).tensors) == ["adapter_model"]


def test_a_numbered_set_comes_before_stray_files(tmp_path):
    write_headers_only(tmp_path, SHAPES, shards=3)
    (tmp_path / INDEX).unlink()
    save_file({"stray": torch.zeros(2)}, tmp_path / "stray.safetensors")
    table = open_checkpoint(tmp_path)
    assert len(table.tensors) == 6 and codes(table) == ["loaders-differ"]


def test_files_under_free_names_are_read_together(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(2)}, tmp_path / "two.safetensors")
    assert list(open_checkpoint(tmp_path).tensors) == ["a", "b"]


def test_a_missing_numbered_shard_is_named(tmp_path):
    write_headers_only(tmp_path, SHAPES, shards=3)
    (tmp_path / INDEX).unlink()
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    refused(tmp_path, MissingInput, "model-00002-of-00003.safetensors", "2 of 3")


def test_a_name_in_two_shards_is_refused(tmp_path):
    save_file({"w": torch.zeros(2), "a": torch.zeros(1)}, tmp_path / "one.safetensors")
    save_file({"w": torch.zeros(2)}, tmp_path / "two.safetensors")
    refused(tmp_path, CorruptCheckpoint, "'w'", "one.safetensors")


def test_model_parallel_slices_are_refused_with_the_reason(tmp_path):
    for rank in range(2):
        torch.save({"w": torch.zeros(2)}, tmp_path / f"consolidated.0{rank}.pth")
    refused(tmp_path, CorruptCheckpoint, "slices", "merge")


def test_empty_tensors_are_reported(tmp_path):
    save_file({"w": torch.zeros(0), "b": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert codes(open_checkpoint(tmp_path)) == ["empty-tensors"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "empty folder"),
        (("model-Q4_K_M.gguf", "config.json"), "only GGUF files"),
        (("tf_model.h5", "flax_model.msgpack"), "Flax and Keras/TensorFlow files"),
        (("config.json", "tokenizer.json"), "it has 'config.json'"),
        (("optimizer.pt",), "trainer's state"),
    ],
)
def test_a_folder_without_weights_says_what_it_has(tmp_path, names, words):
    folder = tmp_path / "ckpt"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"GGUF")
    refused(folder, UnknownFormat, words)


def test_a_folder_above_the_weights_names_the_one_below(tmp_path):
    for inner in ("pipeline/transformer", "models--org--name/snapshots/4d7a"):
        (tmp_path / inner).mkdir(parents=True)
        save_file({"w": torch.zeros(2)}, tmp_path / inner / "diffusion_pytorch_model.safetensors")
    refused(tmp_path / "pipeline", UnknownFormat, "name the folder 'transformer'")
    refused(tmp_path / "models--org--name", UnknownFormat, "name the folder 'snapshots/4d7a'")


# Paths.


@pytest.mark.parametrize(
    "name", ["absent", "absent/model.safetensors", "openbmb/MiniCPM4", "a\0b", "x" * 300]
)
def test_a_path_that_does_not_exist_is_refused(tmp_path, name):
    with pytest.raises(MissingInput):
        open_checkpoint(tmp_path / name)


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    refused(tmp_path / "a", MissingInput)


def test_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", MissingInput, "no regular file")
    refused(tmp_path, MissingInput, "no regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    (tmp_path / "model.safetensors").touch(mode=0)
    refused(tmp_path, MissingInput, "permission denied")


def test_no_permission_is_one_line(tmp_path, monkeypatch):
    """As root permissions are not checked, so the system call is made to fail."""
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    for call in ("open", "listdir", "stat"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, denied)
            with pytest.raises(MissingInput, match="permission denied"):
                open_checkpoint(tmp_path)


def test_a_failing_disk_is_one_line(tmp_path, monkeypatch):
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    refused(tmp_path, MissingInput, "input/output error")


# Files that are something else.

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4976698672\n"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", CorruptCheckpoint, "is empty"),
        (LFS, MissingInput, "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>401</body></html>", UnknownFormat, "web page"),
        (b"\n <html>gated</html>", UnknownFormat, "web page"),
        (b'{"error": "Access to model is restricted"}', UnknownFormat, "JSON text"),
        (b"GGUF\3\0\0\0" + bytes(100), UnknownFormat, "GGUF"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), UnknownFormat, "HDF5"),
        (b"\x1f\x8b\x08" + bytes(100), UnknownFormat, "gzip"),
        (b"\x93NUMPY\1\0" + bytes(100), UnknownFormat, "numpy"),
        (b"\x7fELF" + bytes(100), UnknownFormat, "program"),
        (b"PK\5\6" + bytes(18), UnknownFormat, "empty zip"),
        (b"PK\3\4" + bytes(100), CorruptCheckpoint, "truncated"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path, name, content, kind, words):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path, kind, words)
    refused(tmp_path / name, kind, words)


def test_a_tar_of_the_oldest_torch_is_named(tmp_path):
    (tmp_path / "sys_info").write_bytes(b"x")
    with tarfile.open(tmp_path / "model.pt", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(tmp_path / "sys_info", "sys_info")
    refused(tmp_path / "model.pt", UnknownFormat, "tar archive", "0.1.10")


def test_random_bytes_are_shown(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"\x01\x02\x03\x04" * 10)
    refused(tmp_path / "model.bin", UnknownFormat, r"\x01\x02", "neither safetensors nor")


# The index against the shards.


def test_a_shard_that_the_index_names_must_be_there(sharded):
    (sharded / "model-00003-of-00003.safetensors").unlink()
    refused(sharded, MissingInput, "model-00003-of-00003.safetensors", "1 of 3")


def test_a_tensor_that_is_only_in_the_index_is_reported(sharded):
    edit_index(sharded, lambda index: index["weight_map"].update(ghost="model-00001-of-00003.safetensors"))
    table = open_checkpoint(sharded)
    assert codes(table) == ["index-missing-tensor"]
    assert "'ghost'" in table.problems[0].message and "model-00001-of-00003" in table.problems[0].message


def test_of_many_shards_that_differ_the_first_are_told_and_the_others_counted(tmp_path):
    places = {f"t{n}": f"{n:03d}.safetensors" for n in range(300)}
    for name, file in places.items():
        save_file({name: torch.zeros(1), f"more.{name}": torch.zeros(1)}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    told = [problem.message for problem in open_checkpoint(tmp_path).problems]
    assert len(told) == 20
    assert "1 tensors of 018.safetensors are not in the index: 'more.t18'" in told[18]
    assert "281 tensors of 281 more shards are not in the index" in told[19]


def test_a_tensor_that_is_only_in_a_shard_is_reported_and_kept(sharded):
    edit_index(sharded, lambda index: index["weight_map"].pop("layer.5.weight"))
    table = open_checkpoint(sharded)
    assert codes(table) == ["index-unlisted-tensor"] and "layer.5.weight" in table.tensors


def test_a_tensor_in_another_shard_is_reported(sharded):
    wrong = {"layer.5.weight": "model-00001-of-00003.safetensors"}
    edit_index(sharded, lambda index: index["weight_map"].update(wrong))
    assert codes(open_checkpoint(sharded)) == ["index-wrong-file"]


def test_a_shard_that_the_index_does_not_name_is_reported_and_not_read(sharded):
    save_file({"extra": torch.zeros(2)}, sharded / "model-00004-of-00004.safetensors")
    save_file({"lora": torch.zeros(2)}, sharded / "adapter_model.safetensors")
    table = open_checkpoint(sharded)
    assert codes(table) == ["index-unlisted-file", "other-weights"]
    assert "extra" not in table.tensors


@pytest.mark.parametrize("size", [0, 1, -5, "many", 1e300, True, [1]])
def test_a_wrong_total_size_is_reported(sharded, size):
    edit_index(sharded, lambda index: index["metadata"].update(total_size=size))
    assert codes(open_checkpoint(sharded)) == ["index-total-size"]


def test_total_size_may_be_absent_or_a_float_or_count_tied_weights_once(tmp_path):
    weight = torch.zeros(4)
    torch.save({"a": weight, "b": weight}, tmp_path / "pytorch_model.bin")
    for size in (16, 32, 16.0):
        index = {"metadata": {"total_size": size}, "weight_map": dict.fromkeys("ab", "pytorch_model.bin")}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        assert not open_checkpoint(tmp_path).problems
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index["weight_map"]}))
    assert not open_checkpoint(tmp_path).problems


@pytest.mark.parametrize(
    "file",
    [
        "../model.safetensors",
        "a/../../model.safetensors",
        "/etc/passwd",
        "//etc/passwd",
        "",
        ".",
        "./model.safetensors",
        "a//b",
        "a\\..\\b",
        "C:model.safetensors",
        "a\0b",
        "a\nb",
        "x/" * 600 + "y",
    ],
)
def test_an_index_may_not_lead_out_of_its_folder(sharded, file):
    save_file({"w": torch.zeros(2)}, sharded.parent / "model.safetensors")
    edit_index(sharded, lambda index: index["weight_map"].update(w=file))
    refused(sharded, HostileCheckpoint, "no plain path inside the folder")


@pytest.mark.parametrize("cap", ["MOST_TENSORS", "MOST_SHARDS"])
def test_an_index_of_millions_of_names_is_refused(sharded, monkeypatch, cap):
    monkeypatch.setattr(f"weightsmith.checkpoint.index.{cap}", 2)
    refused(sharded, HostileCheckpoint, "names", "trusted source")


def test_an_index_may_name_a_subfolder(tmp_path):
    (tmp_path / "sub").mkdir()
    save_file({"w": torch.zeros(2)}, tmp_path / "sub" / "part.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": "sub/part.safetensors"}}))
    table = open_checkpoint(tmp_path)
    assert table.tensors["w"].storage.file == "sub/part.safetensors" and not table.problems


def test_a_file_name_longer_than_the_disk_allows_is_missing(sharded):
    edit_index(sharded, lambda index: index["weight_map"].update(w="x" * 900))
    refused(sharded, MissingInput, "is not there")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("{}", "no weight_map"),
        ('{"weight_map": {}}', "empty weight_map"),
        ('{"weight_map": []}', "no weight_map"),
        ('{"weight_map": {"w": 1}}', "other than a file name"),
        ('{"weight_map": {"w": "a", "w": "b"}}', "key 'w' twice"),
        ("[]", "holds a list"),
        ("nonsense", "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"weight_map": NaN}', "no weight_map"),
        (LFS.decode(), "git-lfs pointer"),
    ],
)
def test_an_index_that_is_no_index_is_refused(sharded, text, words):
    (sharded / INDEX).write_text(text)
    refused(sharded, InvalidConfig, words)
    refused(sharded / INDEX, InvalidConfig, words)


def test_every_problem_is_one_line(sharded):
    def spoil(index):
        index["weight_map"].update({f"ghost.{i}": "model-00001-of-00003.safetensors" for i in range(1000)})
        index["metadata"]["total_size"] = 10**60

    edit_index(sharded, spoil)
    problems = open_checkpoint(sharded).problems
    assert [problem.code for problem in problems] == ["index-missing-tensor", "index-total-size"]
    for problem in problems:
        assert problem.message.isprintable() and len(problem.message) < 300
    assert "997 more" in problems[0].message


def test_a_header_too_big_for_the_memory_is_one_line(tmp_path, monkeypatch):
    forge.safetensors(tmp_path / "model.safetensors", {"w": forge.entry("F32", [1], 0, 4)}, bytes(4))

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("weightsmith.checkpoint.safetensors_file.parse_object", full)
    refused(tmp_path, WeightsmithError, "memory")


def test_a_shard_number_is_written_in_ascii_digits():
    assert numbered("model-00001-of-00003.safetensors") == ("model", 1, 3, ".safetensors")
    assert numbered("model-٠٠٠٠١-of-٠٠٠٠٣.safetensors") is None


# What all files together may cost.


def test_links_to_one_file_are_parsed_once(tmp_path):
    """Whatever the link is; the tensors would have two names, or there are none and only the header costs."""
    forge.safetensors(tmp_path / "a.safetensors", {"__metadata__": {"k": "v"}})
    (tmp_path / "b.safetensors").symlink_to("a.safetensors")
    (tmp_path / "c.safetensors").hardlink_to(tmp_path / "a.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {f"w.{n}": f"{n}.safetensors" for n in "abc"}}))
    refused(tmp_path, CorruptCheckpoint, "is the same file as a.safetensors", "remove one")


@pytest.mark.parametrize(
    ("cap", "value", "words"),
    [
        ("open.MOST_READ", 100, "bytes of headers, more than"),
        ("open.MOST_TENSORS", 5, "6 tensors or notes"),
        ("open.MOST_SHARDS", 2, "3 weights files"),
    ],
)
def test_caps_over_all_files_are_enforced(sharded, monkeypatch, cap, value, words):
    (sharded / INDEX).unlink()
    monkeypatch.setattr(f"weightsmith.checkpoint.{cap}", value)
    refused(sharded, HostileCheckpoint, words)


def test_the_collector_is_as_it_was_before(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    for enabled in (gc.enable, gc.disable):
        enabled()
        was = gc.isenabled()
        open_checkpoint(tmp_path)
        with pytest.raises(MissingInput):
            open_checkpoint(tmp_path / "absent")
        assert gc.isenabled() is was
    gc.enable()
