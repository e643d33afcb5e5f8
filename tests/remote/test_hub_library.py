"""Our hub speaks as huggingface_hub expects of a hub, and we read what huggingface_hub leaves on the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.remote.conftest import SOUND
from weightsmith import library

if TYPE_CHECKING:
    from pathlib import Path

    from tests.remote.hub import Hub

_DOWNLOAD = "print(huggingface_hub.snapshot_download('org/sound', revision=sys.argv[1]))"
_HEADERS = """
found = huggingface_hub.get_safetensors_metadata("org/sound")
print(json.dumps({n: [t.dtype, t.shape] for f in found.files_metadata.values() for n, t in f.tensors.items()}))
"""
_REFUSED = """
from huggingface_hub import errors
for repository, revision, file, kind in [
    ("org/absent", None, "config.json", errors.RepositoryNotFoundError),
    ("org/sound", "v9", "config.json", errors.RevisionNotFoundError),
    ("org/sound", None, "absent.json", errors.EntryNotFoundError),
    ("org/gated", None, "config.json", errors.GatedRepoError),
]:
    try:
        huggingface_hub.hf_hub_download(repository, file, revision=revision)
    except kind as error:
        print(type(error).__name__)
"""


def by_the_library(program: str, *arguments: str) -> str:
    """What a program prints that uses huggingface_hub, in a process of its own: it reads the environment once."""
    code = f"import huggingface_hub, json, sys\n{program}"
    environment = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("revision", ["main", "0123456789abcdef0123456789abcdef01234567"])
def test_what_it_has_downloaded_is_not_fetched_again(
    hub: Hub, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_the_library(_DOWNLOAD, revision)
    hub.forget()
    assert library.infer(f"hf://org/sound@{revision}").verdict == "agrees"
    assert hub.of_files() == [] and len(hub.asked) == 1
    hub.forget()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert library.infer(f"hf://org/sound@{revision}").verdict == "agrees" and hub.asked == []


def test_it_sees_the_same_headers(hub: Hub) -> None:
    theirs = json.loads(by_the_library(_HEADERS))
    ours = library.open("hf://org/sound").tensors
    assert {name: [t.dtype, list(t.shape)] for name, t in ours.items()} == theirs


def test_it_is_refused_for_the_same_reasons(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["org/gated"] = SOUND
    hub.gated.add("org/gated")
    assert by_the_library(_REFUSED).split() == [
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "GatedRepoError",
    ]
    for address, words in [
        ("hf://org/absent", "no such repository"),
        ("hf://org/sound@v9", "no revision 'v9'"),
        ("hf://org/sound/absent.json", "no such file"),
        ("hf://org/gated", "is gated"),
    ]:
        with pytest.raises(library.WeightsmithError, match=words):
            library.open(address)
