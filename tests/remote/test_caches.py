"""What a hub's own library has put into its cache is not fetched again, and is enough where nobody may be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.remote.conftest import SOUND
from tests.remote.hub import COMMIT, Hub
from weightsmith import library
from weightsmith.errors import MissingInput, WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path


def cached(hub: Hub, home: Path, names: list[str] | None = None) -> Path:
    """The folder that huggingface_hub makes (file_download.py): blobs by their names at the hub, and links to them."""
    folder = home / "hub" / "models--org--sound"
    snapshot = folder / "snapshots" / COMMIT
    for part in (snapshot, folder / "blobs", folder / "refs"):
        part.mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for path in SOUND.iterdir():
        if names is None or path.name in names:
            digest = hub.digest(path) if path.suffix == ".safetensors" else hub.digest(path)[:40]
            (folder / "blobs" / digest).write_bytes(path.read_bytes())
            (snapshot / path.name).symlink_to(f"../../blobs/{digest}")
    return folder


def test_what_is_cached_is_not_fetched(hub: Hub, tmp_path: Path) -> None:
    cached(hub, tmp_path / "hf-home")
    found = library.infer("hf://org/sound")
    assert found.verdict == "agrees" and hub.of_files() == []
    assert [one.is_listing for one in hub.asked] == [True]  # whether the cache is what the hub has now


def test_a_file_that_the_hub_has_changed_is_fetched(hub: Hub, tmp_path: Path) -> None:
    folder = cached(hub, tmp_path / "hf-home")
    for blob in (folder / "blobs").iterdir():
        blob.rename(blob.with_name("f" * len(blob.name)))
    assert library.open("hf://org/sound").tensors == library.open(SOUND).tensors
    assert hub.of_files("model.safetensors")


def test_a_blob_of_another_size_is_no_copy(hub: Hub, tmp_path: Path) -> None:
    folder = cached(hub, tmp_path / "hf-home")
    for blob in (folder / "blobs").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1])
    assert library.infer("hf://org/sound").verdict == "agrees"


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_offline_the_cache_is_the_repository(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    cached(hub, tmp_path / "hf-home")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for inner in ("", "/model.safetensors"):
        assert library.open(f"hf://org/sound{revision}{inner}").tensors == library.open(SOUND).tensors
    assert library.infer(f"hf://org/sound{revision}").verdict == "agrees" and hub.asked == []


def test_offline_what_is_not_cached_is_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(hub, tmp_path / "hf-home")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    for address in ("hf://org/absent", "hf://org/sound@v2"):
        with pytest.raises(MissingInput, match=r"the hub may not be asked \(HF_HUB_OFFLINE"):
            library.open(address)
    assert hub.asked == []
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    assert library.open(f"{hub.url}/org/sound/model.safetensors").tensors  # a server that is no hub


def test_a_cache_elsewhere_and_a_ref_that_climbs(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cached(hub, tmp_path / "other")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "other" / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    assert library.open("hf://org/sound").tensors
    (folder / "refs" / "main").write_text("../../../../etc")
    with pytest.raises(WeightsmithError, match="the cache has no such revision"):
        library.open("hf://org/sound")


def test_a_half_cached_repository_is_read_from_both(hub: Hub, tmp_path: Path) -> None:
    cached(hub, tmp_path / "hf-home", ["model.safetensors"])
    assert library.infer("hf://org/sound").verdict == "agrees"
    assert hub.of_files("model.safetensors") == [] and hub.of_files("config.json")
