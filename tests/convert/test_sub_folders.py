"""Known folders beside the weights come along, one level deep: the files that belong in them, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.values.making import latent_llama, save
from weightsmith.checkpoint.manifest_file import recorded_files
from weightsmith.checkpoint.sub_folders import is_sub_file
from weightsmith.convert import convert
from weightsmith.convert.finish.hash_check import check_hashes
from weightsmith.convert.finish.leftovers import MARKER, STAGING, clean_leftovers, clear

FOLDER = "additional_chat_templates"


def model(folder: Path) -> Path:
    source = save(folder / "source", latent_llama())
    (source / FOLDER).mkdir()
    for name in ("tool_use.jinja", "rag.jinja"):
        (source / FOLDER / name).write_text(name)
    return source


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_tokenizers_other_templates_come_along(tmp_path: Path) -> None:
    """transformers, utils/hub.py, CHAT_TEMPLATE_DIR: save_pretrained writes them there, and from_pretrained looks."""
    source = model(tmp_path)
    (source / FOLDER / "deeper").mkdir()
    (source / FOLDER / "run.py").write_text("")
    (source / FOLDER / ".hidden.jinja").write_text("")
    (source / "onnx").mkdir()
    result = convert(source, tmp_path / "out")
    kept = {f"{FOLDER}/tool_use.jinja", f"{FOLDER}/rag.jinja"}
    assert below(tmp_path / "out") == {"config.json", "model.safetensors", "weightsmith.json", *kept}
    assert (tmp_path / "out" / FOLDER / "rag.jinja").read_text() == "rag.jinja"
    left = {f"{FOLDER}/deeper", f"{FOLDER}/run.py", f"{FOLDER}/.hidden.jinja", "onnx"}
    assert set(result.left_out) == left
    assert kept <= set(result.files)
    assert {
        name: verdict for name, verdict in check_hashes(tmp_path / "out") if name in kept
    } == dict.fromkeys(kept, "same")
    (tmp_path / "out" / FOLDER / "new.jinja").write_text("")
    assert (f"{FOLDER}/new.jinja", "not listed") in check_hashes(tmp_path / "out")
    convert(tmp_path / "out", tmp_path / "again")
    assert below(tmp_path / "again") == below(tmp_path / "out") | {f"{FOLDER}/new.jinja"}


def test_a_link_in_such_a_folder_leads_nowhere_else_nor_does_the_folder(tmp_path: Path) -> None:
    source, secret = model(tmp_path), tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "key.jinja").write_text("key")
    (source / FOLDER / "key.jinja").symlink_to(secret / "key.jinja")
    result = convert(source, tmp_path / "out")
    assert "leads out" in result.left_out[f"{FOLDER}/key.jinja"]
    assert not (tmp_path / "out" / FOLDER / "key.jinja").exists()
    linked = save(tmp_path / "linked", latent_llama())
    (linked / FOLDER).symlink_to(secret)
    result = convert(linked, tmp_path / "out2")
    assert "folder" in result.left_out[FOLDER]
    assert not (tmp_path / "out2" / FOLDER).exists()


def test_a_snapshot_of_the_hub_cache_is_followed_into_its_blobs(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--name"
    snapshot, blobs = repository / "snapshots/0123", repository / "blobs"
    model(snapshot).rename(repository / "snapshots/4567")
    snapshot = repository / "snapshots/4567"
    blobs.mkdir()
    (snapshot / FOLDER / "rag.jinja").rename(blobs / "1")
    (snapshot / FOLDER / "rag.jinja").symlink_to(Path("../../../blobs/1"))
    convert(snapshot, tmp_path / "out")
    assert (tmp_path / "out" / FOLDER / "rag.jinja").read_text() == "rag.jinja"
    assert not (tmp_path / "out" / FOLDER / "rag.jinja").is_symlink()


def test_what_a_killed_run_left_of_it_is_removed(tmp_path: Path) -> None:
    def staged(strange: str = "") -> Path:
        folder = tmp_path / (STAGING.format("out") + "0123abcd")
        (folder / FOLDER).mkdir(parents=True)
        for name in (MARKER, f"{FOLDER}/rag.jinja", *([strange] if strange else [])):
            (folder / name).write_text("")
        return folder

    folder = staged()
    clear(folder, {MARKER})
    assert below(folder) == {MARKER}
    (folder / FOLDER).mkdir()
    (folder / FOLDER / "rag.jinja").write_text("")
    assert clean_leftovers(tmp_path / "out") == [folder.name]
    kept = staged(f"{FOLDER}/letter.txt")
    assert clean_leftovers(tmp_path / "out") == []
    assert kept.is_dir()


@pytest.mark.parametrize(
    "name",
    ["../x.jinja", f"{FOLDER}/../x.jinja", f"{FOLDER}/..", f"{FOLDER}/", f"{FOLDER}/a/b.jinja", "other/x.jinja",
     f"/{FOLDER}/x.jinja", f"{FOLDER}/x.jinja/"],
)  # fmt: skip
def test_a_manifest_leads_nowhere_else(name: str) -> None:
    assert not is_sub_file(name)
    with pytest.raises(ValueError, match="no file of this folder"):
        recorded_files(json.loads(json.dumps([{"file": name, "bytes": 0, "hash": ""}])))
