"""What is converted from elsewhere has the bytes of what is converted from here; a killed run goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.remote.conftest import LATENT, SOUND
from weightsmith import library
from weightsmith.convert.finish.leftovers import MARKER
from weightsmith.errors import CorruptCheckpoint, MissingInput, TargetRefused, WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.remote.hub import Answer, Asked, Hub

WRITTEN = "weightsmith.json"


def same_output(here: Path, there: Path) -> None:
    names = sorted(path.name for path in here.iterdir())
    assert sorted(path.name for path in there.iterdir()) == names
    for name in names:
        if name != WRITTEN:
            assert (here / name).read_bytes() == (there / name).read_bytes(), name
    ours, theirs = (json.loads((folder / WRITTEN).read_text()) for folder in (here, there))
    assert theirs["output"] == ours["output"]
    assert theirs["source"] == ours["source"] and len(ours["source"]) > 1


@pytest.mark.parametrize(
    ("name", "folder", "options"),
    [
        ("org/sound", SOUND, {"converter": "plain"}),
        ("org/sound", SOUND, {"converter": "hrm-text"}),
        ("org/latent", LATENT, {"accept_guesses": True}),
        ("org/latent", LATENT, {"converter": "plain", "dtype": "float16", "max_shard_size": "300kB"}),
    ],
)
def test_every_byte_is_the_same(
    hub: Hub, tmp_path: Path, name: str, folder: Path, options: dict[str, object]
) -> None:
    library.convert(folder, tmp_path / "here", **options)  # type: ignore[arg-type]
    done = library.convert(f"hf://{name}", tmp_path / "there", **options)  # type: ignore[arg-type]
    same_output(tmp_path / "here", tmp_path / "there")
    assert str(done.document()["source"]).count(f"hf://{name}") == 1
    checked = library.inspect(tmp_path / "there", hashes=True)
    assert checked.hashes is not None and {verdict for _, verdict in checked.hashes} == {"same"}


@pytest.fixture
def large(hub: Hub, tmp_path: Path) -> Path:
    """24 MB in three shards."""
    folder, weights = tmp_path / "large", {}
    folder.mkdir()
    rng = np.random.default_rng(1)
    for n in range(3):
        name = f"model-{n + 1:05d}-of-00003.safetensors"
        arrays = {
            f"model.layers.{n}.a{i}.weight": rng.standard_normal((500, 1000), np.float32) for i in range(4)
        }
        save_file(arrays, folder / name)
        weights |= dict.fromkeys(arrays, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    (folder / "config.json").write_text('{"model_type": "unknown_of_the_test"}')
    hub.repositories["org/large"] = folder
    return folder


@pytest.mark.parametrize("second", ["hf://org/sound", str(SOUND)])
def test_parts_of_it_from_here_and_from_there_make_the_same(hub: Hub, tmp_path: Path, second: str) -> None:
    how = {"converter": "plain", "max_shard_size": "300kB"}
    library.convert(SOUND, tmp_path / "here", **how)  # type: ignore[arg-type]
    library.convert(second, tmp_path / "there", part="2/2", **how)  # type: ignore[arg-type]
    library.convert("hf://org/sound", tmp_path / "there", part="1/2", **how)  # type: ignore[arg-type]
    library.convert("hf://org/sound", tmp_path / "there", join=True, **how)  # type: ignore[arg-type]
    same_output(tmp_path / "here", tmp_path / "there")


def test_no_byte_of_weights_is_fetched_twice(hub: Hub, large: Path, tmp_path: Path) -> None:
    library.convert("hf://org/large", tmp_path / "out", converter="plain")
    size = sum(path.stat().st_size for path in large.glob("*.safetensors"))
    sent = sum(one.sent for one in hub.of_files("-of-") if one.server == "cdn")
    assert sent < 1.1 * size


def _longest_journal(folder: Path) -> int:
    """Lines of the journal in whatever folder a conversion has made beside its target."""
    return max((path.read_bytes().count(b"\n") for path in folder.glob(f".*/{MARKER}")), default=0)


def test_a_torch_file_is_fetched_once_as_well(hub: Hub, tmp_path: Path) -> None:
    library.convert("hf://org/latent", tmp_path / "out", converter="plain")
    sent = sum(one.sent for one in hub.of_files("pytorch_model.bin") if one.server == "cdn")
    assert sent < 1.3 * (LATENT / "pytorch_model.bin").stat().st_size


def test_a_killed_run_goes_on(hub: Hub, large: Path, tmp_path: Path) -> None:
    """kill -9 while the third shard comes slowly: --resume fetches that one alone."""
    library.convert(large, tmp_path / "here", converter="plain", max_shard_size="8MB")

    def slow(asked: Asked, answer: Answer) -> None:
        if "00003-of" in asked.path and asked.server == "cdn" and answer.start > 0:
            answer.pause = 30.0

    hub.fault = slow
    target = tmp_path / "there"
    command = [sys.executable, "-m", "weightsmith", "convert", "hf://org/large", str(target)]
    options = ["--converter", "plain", "--max-shard-size", "8MB"]
    child = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    # A line for the work, two for shards, two for their sources.
    until = time.monotonic() + 60
    while _longest_journal(tmp_path) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert _longest_journal(tmp_path) >= 5 and not (target / WRITTEN).exists()
    hub.fault = None
    hub.forget()
    done = subprocess.run(
        [*command, *options, "--resume", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    same_output(tmp_path / "here", target)
    sent = {n: sum(one.sent for one in hub.of_files(f"0000{n}-of") if one.server == "cdn") for n in (1, 2, 3)}
    assert sent[1] < 200_000 and sent[2] < 200_000 and sent[3] > 8_000_000


def test_a_source_that_changes_leaves_nothing(hub: Hub, large: Path, tmp_path: Path) -> None:
    def other(asked: Asked, answer: Answer) -> None:
        if "00002-of" in asked.path and asked.server == "cdn" and answer.start > 1 << 20:
            answer.headers["ETag"] = '"another"'

    hub.fault = other
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        library.convert("hf://org/large", tmp_path / "out", converter="plain")
    assert not (tmp_path / "out").exists()


def test_a_server_that_goes_away_leaves_nothing(hub: Hub, large: Path, tmp_path: Path) -> None:
    def gone(asked: Asked, answer: Answer) -> None:
        if "00003-of" in asked.path and answer.start > 1 << 20:
            answer.status = 503

    hub.fault = gone
    with pytest.raises(MissingInput, match="the server failed"):
        library.convert("hf://org/large", tmp_path / "out", converter="plain")
    assert not (tmp_path / "out").exists()


def test_a_source_of_another_revision_is_not_resumed_into(hub: Hub, large: Path, tmp_path: Path) -> None:
    """The journal's digest has what the hub calls the bytes of each file."""
    from weightsmith.convert.stamps import stamps

    before = stamps(library.open("hf://org/large").root, ["model-00001-of-00003.safetensors"])
    assert before == stamps(library.open("hf://org/large").root, ["model-00001-of-00003.safetensors"])
    file = large / "model-00001-of-00003.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    hub.digests.clear()
    assert before != stamps(library.open("hf://org/large").root, ["model-00001-of-00003.safetensors"])


def test_an_adapter_is_merged_into_a_base_that_lies_elsewhere(hub: Hub, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    name = next(n for n, t in library.open(SOUND).tensors.items() if len(t.shape) == 2 and "proj" in n)
    rows, columns = library.open(SOUND).tensors[name].shape
    module = name.removesuffix(".weight")
    rng = np.random.default_rng(0)
    save_file(
        {
            f"base_model.model.{module}.lora_A.weight": rng.standard_normal((2, columns)).astype(np.float32),
            f"base_model.model.{module}.lora_B.weight": rng.standard_normal((rows, 2)).astype(np.float32),
        },
        adapter / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [module.rpartition(".")[2]]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    for base, out in ((str(SOUND), "here"), ("hf://org/sound", "there")):
        library.convert(adapter, tmp_path / out, converter="lora", options={"base": base})
    weights = "model.safetensors"
    assert (tmp_path / "here" / weights).read_bytes() == (tmp_path / "there" / weights).read_bytes()


def test_a_target_is_never_remote(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsmithError) as refused:
        library.convert("hf://org/sound", "hf://org/target")
    assert isinstance(refused.value, TargetRefused)


def test_a_dry_run_reads_headers(hub: Hub, large: Path, tmp_path: Path) -> None:
    library.convert("hf://org/large", tmp_path / "out", converter="plain", dry_run=True)
    assert sum(one.sent for one in hub.of_files("-of-")) < 1 << 20 and not (tmp_path / "out").exists()
