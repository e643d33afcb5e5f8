"""What the engine would wait for, drain or follow is found before it starts."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.verify.conftest import HRM_TEXT
from weightsmith.errors import HostileCheckpoint, InvalidConfig, MissingInput
from weightsmith.verify.inputs.files import need_openable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return shutil.copytree(HRM_TEXT, tmp_path / "model")


def test_a_sound_model_is_taken_and_weights_may_lie_elsewhere(model: Path) -> None:
    (model / "model.safetensors").rename(model.parent / "weights")
    (model / "model.safetensors").symlink_to(model.parent / "weights")
    (model / "notes").symlink_to("/dev/zero")  # nobody reads it
    need_openable(model)


@pytest.mark.parametrize(
    "name", ["tokenizer.model", "vocab.json", "merges.txt", "modeling_x.py", "more.safetensors"]
)
def test_a_pipe_under_a_name_that_loaders_read_is_refused(model: Path, name: str) -> None:
    os.mkfifo(model / name)
    with pytest.raises(MissingInput, match="no regular file") as caught:
        need_openable(model)
    assert caught.value.subject == str(model / name)


def test_a_link_out_and_endless_files_are_refused(model: Path) -> None:
    (model / "vocab.txt").symlink_to("/etc/hostname")
    with pytest.raises(HostileCheckpoint, match="leads out"):
        need_openable(model)
    (model / "vocab.txt").unlink()
    with (model / "vocab.txt").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidConfig, match="more than"):
        need_openable(model)
