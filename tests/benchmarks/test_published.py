"""The published set: every line of it is sound, a model runs through the bench, and a model can be added."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from benchmarks.published import add
from benchmarks.published.__main__ import main
from benchmarks.published.counts import count
from benchmarks.published.models import FOLDER, groups, read_group
from weightsmith.shapes.solve.published_values import published_values

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MEGABYTE = 1_000_000
ALL = [model for group in groups() for model in read_group(group)]


def test_every_model_is_named_once_and_names_its_source_and_its_type() -> None:
    names = [model.name for model in ALL]
    assert sorted(set(names)) == sorted(names)
    assert [model.name for model in ALL if not model.source or not model.model_type] == []


def test_there_are_200_models_in_less_than_a_megabyte() -> None:
    assert len(ALL) >= 200
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MEGABYTE


def test_the_counts_are_those_of_these_models() -> None:
    assert count(ALL) == published_values()


def test_a_small_model_passes_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "HuggingFaceTB/SmolLM2-135M-Instruct"]) == 0
    said = capsys.readouterr().out
    assert "true 1/1 = 100.0%" in said
    assert "lies 2/2 = 100.0%" in said
    assert "bare 1/1 = 100.0%" in said


def test_a_model_is_added_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models"
    shutil.copytree(FOLDER, folder)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))
    arguments = [str(config), "--name", "me/tiny", "--source", "a test", "--group", "text"]
    assert add.main(arguments, folder) == 0
    assert read_group("text", folder)[-1].config == {"model_type": "llama", "hidden_size": 64}
    assert add.main(arguments, folder) == 1
    assert "is there already" in capsys.readouterr().err


def test_a_file_without_a_type_is_not_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    assert add.main([str(config), "--name", "me/tiny", "--source", "a test", "--group", "text"]) == 1
    assert "names no model_type" in capsys.readouterr().err
