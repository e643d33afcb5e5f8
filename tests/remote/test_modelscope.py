"""ModelScope has its own protocol, token and cache, and the same answers."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.remote.conftest import LATENT, SOUND
from tests.remote.hub import COMMIT, TOKEN, Answer, Asked, Hub
from weightsmith import library
from weightsmith.errors import CorruptCheckpoint, MissingInput

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "modelscope://org/sound"
HERE = library.open(SOUND).tensors


def test_it_is_read_like_the_other_hub(hub: Hub) -> None:
    found = library.infer(MODEL)
    assert found.verdict == "agrees" and library.open(MODEL).tensors == HERE
    assert library.diff(LATENT, "modelscope://org/latent").document()["verdict"] == "identical"
    assert len(hub.of_files("model.safetensors")) <= 4


def test_every_file_is_asked_for_at_the_commit_of_the_listing(hub: Hub) -> None:
    library.infer(MODEL)
    files = [parse_qs(urlsplit(one.path).query) for one in hub.asked if "FilePath" in one.path]
    assert files and {one["Revision"][0] for one in files} == {COMMIT}


def test_what_is_not_there_is_told_in_the_hubs_words(hub: Hub) -> None:
    for address, words in [
        ("modelscope://org/absent", "record not found"),
        (f"{MODEL}@v9", "revision not found"),
        (f"{MODEL}/x.bin", "no such file or folder in the repository"),
    ]:
        with pytest.raises(MissingInput, match=words):
            library.open(address)


def test_a_private_repository_takes_its_token_which_goes_nowhere_else(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add("org/sound")
    with pytest.raises(MissingInput, match="MODELSCOPE_API_TOKEN"):
        library.open(MODEL)
    hub.forget()
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    assert library.open(MODEL).tensors == HERE
    assert {one.server for one in hub.asked if TOKEN in str(one.headers)} == {"hub"}
    assert any(one.server == "cdn" for one in hub.asked)


def test_a_listing_that_says_no(hub: Hub) -> None:
    raw = b'{"Code": 10990101007, "Message": "no", "Success": false}'

    def other(asked: Asked, answer: Answer) -> None:
        answer.body, answer.start, answer.stop = (
            (lambda start, count: raw[start : start + count]),
            0,
            len(raw),
        )

    hub.fault = other
    with pytest.raises(CorruptCheckpoint, match="a list of files without files"):
        library.open(MODEL)


def test_offline_its_cache_is_the_repository(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the modelscope package laid it out before modelscope_hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingInput, match="the cache has no such revision"):
        library.open("modelscope://org/sound-1.5")
    folder = tmp_path / "modelscope" / "models" / "org" / "sound-1___5"
    folder.mkdir(parents=True)
    for path in SOUND.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / ".mv").write_text("Revision:v1,CreatedAt:1700000000")
    for address in ("modelscope://org/sound-1.5", "modelscope://org/sound-1.5@v1"):
        assert library.open(address).tensors == HERE
    with pytest.raises(MissingInput, match="the cache has no such revision"):
        library.open("modelscope://org/sound-1.5@v2")
    assert hub.asked == []


@pytest.mark.parametrize("revision", ["master", "v1"])
def test_offline_its_cache_of_today_is_the_repository(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, revision: str
) -> None:
    """As modelscope_hub 0.5 lays it out: a folder for each revision."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "modelscope" / "models" / "org--sound-1.5" / "snapshots" / revision
    shutil.copytree(SOUND, folder)
    assert library.open(f"modelscope://org/sound-1.5@{revision}").tensors == HERE
    if revision == "master":
        assert library.infer("modelscope://org/sound-1.5").verdict == "agrees"
    with pytest.raises(MissingInput, match="the cache has no such revision"):
        library.open("modelscope://org/sound-1.5@v2")
    assert hub.asked == []


def test_the_endpoint_has_two_names(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "nowhere.invalid")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    assert library.open(MODEL).tensors == HERE
    monkeypatch.delenv("MODELSCOPE_ENDPOINT")
    with pytest.raises(MissingInput, match=r"nowhere\.invalid is not found"):
        library.open(MODEL)
