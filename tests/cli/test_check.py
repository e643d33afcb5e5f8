"""`weightsmith check` at the command line: one exit code for all, and each form where it was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.test_contract import LATENT, MODELS, weightsmith
from tests.cli.test_errors import error_of
from weightsmith import library
from weightsmith.check import Checked
from weightsmith.cli.check import command

SOUND = MODELS / "hrm-text"


def run(*arguments: str | Path) -> int:
    code = command.main([str(argument) for argument in arguments], standalone_mode=False)
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize(
    ("checkpoints", "code"), [([SOUND], 0), ([SOUND, LATENT], 1), ([SOUND, "absent", LATENT], 2)]
)
def test_the_exit_code_is_that_of_the_worst(
    checkpoints: list[str | Path], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*checkpoints) == code
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out.startswith(
        f"✓ {SOUND}: model.safetensors (safetensors), 19 tensors"
    )
    lines = printed.out.splitlines()
    if LATENT in checkpoints:
        assert lines.pop() == f"next: weightsmith infer-config {LATENT}"
    assert lines[-1].startswith("verdict: ")


def test_both_spellings_of_json_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for option in (["--json"], ["--format", "json"]):
        assert run(SOUND, LATENT, *option) == 1
        printed.append(capsys.readouterr())
    assert printed[0] == printed[1] and printed[0].err == ""
    document = json.loads(printed[0].out)
    assert [one["verdict"] for one in document["checkpoints"]] == ["sound", "unsound"]


def test_a_file_gets_the_form_and_the_terminal_the_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "check.xml"
    assert run(LATENT, "--format", "junit", "-o", file) == 1
    assert ElementTree.parse(file).getroot().get("failures") == "1"
    shown = capsys.readouterr().out
    assert shown.startswith("✗ ") and "\nverdict: not sound\nnext: weightsmith infer-config " in shown


def test_stdout_gets_it_where_no_file_is_named(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for options in (["--format=sarif"], ["--format=sarif", "-o", "-"]):
        assert run(LATENT, *options) == 1
        assert json.loads(capfdbinary.readouterr().out)["version"] == "2.1.0"


def test_values_are_read_where_asked_and_strict_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def check(*paths: Path, **options: object) -> Checked:
        asked.append((paths, options["values"], options["strict"], options["by_folder"]))
        return Checked(())

    monkeypatch.setattr(library, "check", check)
    assert run("a", "--values", "b", "--strict") == 0
    assert run("a", "--values=sample", "--by-folder") == 0
    assert asked == [((Path("a"), Path("b")), "full", True, False), ((Path("a"),), "sample", False, True)]


def test_wrong_usage_is_json_in_both_spellings() -> None:
    for words in (
        [SOUND, "--json", "--format", "sarif"],
        [SOUND, "--format=json", "--nonsense"],
        ["--format", "json"],
    ):
        assert error_of(weightsmith("check", *words))["kind"] == "usage"


def test_a_place_where_nothing_can_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    done = weightsmith("check", tmp_path / "absent", "-o", tmp_path / "no" / "file", "--json")
    assert error_of(done)["kind"] == "target-refused"
