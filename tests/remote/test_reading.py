"""A remote checkpoint is the same as its local copy, and no more of it is fetched than headers and small files."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.remote.conftest import LATENT, SOUND
from weightsmith import library
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from pathlib import Path

    from tests.remote.hub import Hub


def _without_places(document: object) -> Any:
    """Paths and addresses are what differs."""
    text = json.dumps(document)
    for place in (str(SOUND), str(LATENT), "hf://org/sound", "hf://org/latent"):
        text = text.replace(place, "PLACE")
    return json.loads(text)


@pytest.mark.parametrize(("name", "folder"), [("org/sound", SOUND), ("org/latent", LATENT)])
def test_every_reading_command_says_the_same_of_both(hub: Hub, name: str, folder: Path) -> None:
    remote = f"hf://{name}"
    for here, there in [
        (library.infer(folder), library.infer(remote)),
        (library.infer(folder, values=True), library.infer(remote, values=True)),
        (library.inspect(folder), library.inspect(remote)),
        (library.inspect(folder, values="full"), library.inspect(remote, values="full")),
        (library.inspect(folder, values="sample"), library.inspect(remote, values="sample")),
        (library.check(folder), library.check(remote)),
        (library.fits(folder), library.fits(remote)),
    ]:
        assert _without_places(there.document()) == _without_places(here.document())
    assert library.infer(remote).fingerprint() == library.infer(folder).fingerprint()


def test_a_model_that_is_not_here_is_not_run(hub: Hub) -> None:
    with pytest.raises(MissingInput, match="is not on this machine") as caught:
        library.infer("hf://org/sound", behaviour=True)
    assert caught.value.way_out == "download it"


def test_a_checkpoint_does_not_differ_from_its_remote_self(hub: Hub) -> None:
    found = library.diff(LATENT, "hf://org/latent")
    assert found.document()["verdict"] == "identical"
    assert library.diff("hf://org/latent", "hf://org/sound").document()["verdict"] != "identical"


def test_a_safetensors_file_takes_one_range(hub: Hub) -> None:
    library.open("hf://org/sound")
    ranges = [one for one in hub.of_files("model.safetensors") if one.server == "cdn"]
    assert [one.headers["Range"] for one in ranges] == ["bytes=0-131071"]
    assert len([one for one in hub.asked if one.is_listing]) == 1
    assert sum(one.sent for one in hub.asked) < 150_000


def test_a_header_that_is_longer_than_the_first_range_takes_the_rest(hub: Hub, tmp_path: Path) -> None:
    arrays = {f"model.layers.{n}.{'x' * 200}.weight": np.zeros(4, np.float32) for n in range(900)}
    save_file(arrays, tmp_path / "model.safetensors")
    hub.repositories["org/long"] = tmp_path
    assert len(library.open("hf://org/long").tensors) == 900
    ranges = [one.headers["Range"] for one in hub.of_files("model.safetensors") if one.server == "cdn"]
    header = int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little")
    assert ranges == ["bytes=0-131071", f"bytes=131072-{7 + header}"]


def test_a_torch_zip_takes_its_two_ends(hub: Hub) -> None:
    library.open("hf://org/latent")
    ranges = [one.headers["Range"] for one in hub.of_files("pytorch_model.bin") if one.server == "cdn"]
    size = (LATENT / "pytorch_model.bin").stat().st_size
    assert ranges == ["bytes=0-131071", f"bytes={size - 65536}-{size - 1}"]


def test_what_was_read_is_not_asked_for_again(hub: Hub) -> None:
    opened = library.open("hf://org/latent")
    library.infer(opened)
    hub.forget()
    library.infer(opened)
    library.inspect(opened)
    assert hub.of_files("pytorch_model.bin") == []


def test_a_large_side_file_is_fetched_once(hub: Hub, tmp_path: Path) -> None:
    folder = shutil.copytree(SOUND, tmp_path / "words")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + " " * 3_000_000)
    hub.repositories["org/words"] = folder
    assert library.check("hf://org/words").verdict == "sound"
    size = (folder / "tokenizer.json").stat().st_size
    # The server's thread counts a part after it has sent it: the reader may have it by then.
    limit = time.monotonic() + 5
    while sum(one.sent for one in hub.of_files("tokenizer.json")) < size and time.monotonic() < limit:
        time.sleep(0.01)
    assert sum(one.sent for one in hub.of_files("tokenizer.json")) == size


def test_shards_are_asked_for_side_by_side_and_once(hub: Hub, tmp_path: Path) -> None:
    weights, count = {}, 24
    for n in range(1, count + 1):
        name = f"model-{n:05d}-of-{count:05d}.safetensors"
        save_file({f"layer.{n}.weight": np.zeros((64, 64), np.float32)}, tmp_path / name)
        weights[f"layer.{n}.weight"] = name
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 16384 * count}, "weight_map": weights}))
    hub.repositories["org/sharded"] = tmp_path
    opened = library.open("hf://org/sharded")
    assert len(opened.tensors) == count and not opened.problems
    shards = hub.of_files("-of-")
    assert len(shards) == 2 * count  # the hub's redirect, and the range
    assert dict(opened.files) == {path.name: path.stat().st_size for path in tmp_path.glob("*.safetensors")}


def test_a_folder_and_a_file_within_a_repository_can_be_named(hub: Hub, tmp_path: Path) -> None:
    shutil.copytree(SOUND, tmp_path / "deep" / "inside")
    hub.repositories["org/outer"] = tmp_path
    whole = library.open("hf://org/outer@main/deep/inside")
    file = library.open("hf://org/outer/deep/inside/model.safetensors")
    assert whole.tensors == file.tensors == library.open(SOUND).tensors
    assert str(whole.root) == "hf://org/outer@main/deep/inside" and library.infer(whole).verdict == "agrees"
    with pytest.raises(library.WeightsmithError, match="holds no weights"):
        library.open("hf://org/outer")


def test_any_web_server_is_read(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a listing, a file, and an index with the shards that it names."""
    monkeypatch.delenv("HF_ENDPOINT")
    here = library.infer(SOUND)
    for address in (f"{hub.url}/org/sound/", f"{hub.url}/org/sound/model.safetensors"):
        there = library.infer(address)
        assert (there.verdict, there.fields) == (here.verdict, here.fields)
    signed = library.open(f"{hub.url}/org/sound/model.safetensors?Signature=secret")
    assert "secret" not in str(signed.path)
    assert [one.path for one in hub.asked][-1].endswith("?Signature=secret")


def test_a_model_with_its_own_code_is_inspected_and_not_run(hub: Hub, tmp_path: Path) -> None:
    code = library.inspect("hf://org/latent").document()["code"]
    assert code is not None and code["files"] == ("modeling_ternary.py",)
    hub.repositories["org/own"] = shutil.copytree(LATENT, tmp_path / "own")
    config = json.loads((tmp_path / "own" / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_ternary.TernaryForCausalLM"}
    (tmp_path / "own" / "config.json").write_text(json.dumps(config))
    with pytest.raises(library.WeightsmithError, match="takes a folder of this machine"):
        library.infer("hf://org/own", check=True, trust_remote_code=True)


def test_a_remote_config_is_not_repaired_in_place(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(library.WeightsmithError, match="is remote"):
        library.infer("hf://org/latent", write=True)
    written = library.infer("hf://org/latent", output=tmp_path / "config.json")
    library.infer(LATENT, output=tmp_path / "local.json")
    assert (tmp_path / "config.json").read_bytes() == (tmp_path / "local.json").read_bytes()
    assert written.written is not None


def test_local_commands_load_nothing_of_it() -> None:
    program = (
        "import sys; from weightsmith import library; library.infer(sys.argv[1]);"
        "print([m for m in sys.modules if m.startswith(('http.client', 'weightsmith.checkpoint.remote', 'ssl'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(SOUND)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_name_with_signs_is_asked_for_as_a_url_has_it(hub: Hub, tmp_path: Path) -> None:
    name = "my 模型 50%+#1?.safetensors"
    shutil.copy(SOUND / "model.safetensors", tmp_path / name)
    hub.repositories["org/signs"] = tmp_path
    found, here = library.open("hf://org/signs"), library.open(SOUND)
    assert list(found.files) == [name] and found.tensors.keys() == here.tensors.keys()


def test_results_are_values(hub: Hub) -> None:
    one, other = library.open("hf://org/sound"), library.open("hf://org/sound")
    assert one.path == other.path and hash(one.path) == hash(other.path)
    assert one.tensors == other.tensors and dataclasses.is_dataclass(one)
