"""infer-config and inspect take several checkpoints: one after the other, and a bad one stops no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from tests.cli.test_contract import LATENT, MODELS

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]

SOUND = MODELS / "hrm-text"
BOTH = pytest.mark.parametrize("command", ["infer-config", "inspect"])


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command with its arguments: its exit code, and what it wrote to stdout and stderr."""

    def run(command: str, *arguments: str | Path) -> tuple[int, str, str]:
        module = import_module(f"weightsmith.cli.{command.replace('-', '_')}")
        code: int = module.command.main([str(word) for word in arguments], standalone_mode=False)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@BOTH
def test_each_has_a_headline_and_reads_as_it_does_alone(command: str, run: Run) -> None:
    alone = [run(command, model) for model in (SOUND, LATENT)]
    texts = [f"==> {model} <==\n{one[1]}" for model, one in zip((SOUND, LATENT), alone, strict=True)]
    code, out, _ = run(command, SOUND, LATENT)
    assert (code, out) == (max(one[0] for one in alone), "\n".join(texts))


@BOTH
def test_one_that_cannot_be_read_is_an_error_at_its_place(command: str, run: Run, tmp_path: Path) -> None:
    code, out, err = run(command, SOUND, tmp_path / "absent", SOUND, "--json")
    assert code == 2
    first, error, last = map(_without_its_time, json.loads(out))
    assert first == last and first["command"] == command, "the same folder twice is the same twice"
    assert error["error"]["where"] == str(tmp_path / "absent")
    assert err.startswith(f"error: {tmp_path / 'absent'}: ") and err.count("\n") == 1
    alone = _without_its_time(json.loads(run(command, SOUND, "--json")[1]))
    assert alone == first, "alone it is no list"


def _without_its_time(document: dict[str, Any]) -> dict[str, Any]:
    """A second may pass between two of them."""
    return {key: value for key, value in document.items() if key != "made"}


def test_what_is_said_of_one_stands_between_its_neighbours_where_both_streams_are_one(tmp_path: Path) -> None:
    checkpoints = [str(SOUND), str(tmp_path / "absent"), str(SOUND)]
    command = [sys.executable, "-m", "weightsmith", "inspect", *checkpoints]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("==> ")]
    (error,) = (number for number, line in enumerate(lines) if line.startswith("error: "))
    assert (done.returncode, heads[1] + 1) == (2, error)


def test_a_headline_shows_a_name_and_obeys_nothing_in_it(run: Run, tmp_path: Path) -> None:
    odd = tmp_path / "a\n\x1b[31m"
    shutil.copytree(SOUND, odd)
    assert run("inspect", odd, SOUND)[1].startswith(f"==> {tmp_path}/a\\n\\x1b[31m <==\n")


@pytest.mark.parametrize("option", [["--write"], ["--output", "config.json"]])
def test_configs_are_written_one_by_one(option: list[str], run: Run, tmp_path: Path) -> None:
    shutil.copytree(LATENT, tmp_path / "model")
    before = (tmp_path / "model" / "config.json").read_bytes()
    with pytest.raises(click.UsageError, match="take one CKPT"):
        run("infer-config", tmp_path / "model", SOUND, *option)
    assert (tmp_path / "model" / "config.json").read_bytes() == before and not Path("config.json").exists()


def test_other_options_hold_for_each(run: Run, tmp_path: Path) -> None:
    config = json.loads((LATENT / "config.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**config, "vocab_size": 7}))
    _, out, _ = run("infer-config", LATENT, LATENT, "--config", tmp_path / "other.json", "--json")
    rows = [field for one in json.loads(out) for field in one["fields"] if field["name"] == "vocab_size"]
    assert [row["configured"] for row in rows] == [7, 7]


def test_a_warning_names_the_checkpoint_that_it_is_of(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(SOUND, tmp_path / name)
        (tmp_path / name / "pytorch_model.bin").write_bytes(b"x")
    said = run("inspect", tmp_path / "a", tmp_path / "b")[2].splitlines()
    assert [str(tmp_path / name) in line for name, line in zip("ab", said, strict=True)] == [True, True]
