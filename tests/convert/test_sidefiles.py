"""What lies beside the weights comes along, unless it is weights, hidden, a folder, or not really there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.values.making import CONFIG, latent_llama, save, save_bin
from weightsmith.convert import convert


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_side_files_are_copied_and_other_weights_are_not(tmp_path: Path) -> None:
    source = save(tmp_path / "source", latent_llama())
    kept = ["tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja", "LICENSE", "README.md"]
    kept += ["generation_config.json", "modeling_x.py", "preprocessor_config.json"]
    left = ["training_args.bin", "optimizer.pt", "tf_model.h5", "flax_model.msgpack", "model.gguf"]
    left += ["pytorch_model.bin.index.json"]
    for name in kept + left:
        (source / name).write_text(name)
    for name in (".gitattributes", "weightsmith.json", "config.json.bak"):
        (source / name).write_text(name)
    (source / "onnx").mkdir()
    result = convert(source, tmp_path / "out")
    assert names(tmp_path / "out") == {*kept, "model.safetensors", "config.json", "weightsmith.json"}
    assert all((tmp_path / "out" / name).read_text() == name for name in kept)
    assert set(result.left_out) == {*left, "onnx"}


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    source = save(tmp_path / "source", latent_llama())
    secret = tmp_path / "secret"
    secret.write_text("key")
    (source / "tokenizer.json").symlink_to(secret)
    (source / "LICENSE").symlink_to("config.json")
    (source / "gone").symlink_to("nowhere")
    result = convert(source, tmp_path / "out")
    assert "tokenizer.json" not in names(tmp_path / "out")
    assert "LICENSE" in names(tmp_path / "out")
    assert "leads out" in result.left_out["tokenizer.json"]


def test_a_snapshot_of_the_hub_cache_is_followed_into_its_blobs(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--name"
    snapshot, blobs = repository / "snapshots/0123", repository / "blobs"
    save(snapshot, latent_llama())
    blobs.mkdir()
    (snapshot / "tokenizer.json").write_text("{}")
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(Path("../../blobs") / str(number))
    convert(snapshot, tmp_path / "out")
    assert {"tokenizer.json", "config.json"} <= names(tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_a_config_that_needs_no_change_keeps_its_values_and_order(tmp_path: Path) -> None:
    config = {**CONFIG, "model_type": "unheard_of", "zeta": 1e-06, "alpha": {"b": [1, None], "a": "ü"}}
    source = save(tmp_path / "source", latent_llama(), config)
    result = convert(source, tmp_path / "out")
    assert result.config_changes == ()
    written = (tmp_path / "out/config.json").read_text()
    assert json.loads(written) == config
    assert list(json.loads(written)) == list(config)


@pytest.mark.parametrize("make", [save, save_bin])
def test_a_single_file_brings_its_neighbours(tmp_path: Path, make: object) -> None:
    source = make(tmp_path / "source", latent_llama())  # type: ignore[operator]
    (source / "tokenizer.json").write_text("{}")
    weights = next(path for path in source.iterdir() if path.suffix in (".bin", ".safetensors"))
    convert(weights, tmp_path / "out")
    assert {"tokenizer.json", "config.json"} <= names(tmp_path / "out")
