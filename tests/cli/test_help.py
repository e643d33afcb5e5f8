"""Help says what to type: examples that the command takes, exit codes, what there is to choose from."""

from __future__ import annotations

import shlex
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from weightsmith.cli import commands
from weightsmith.convert.plan.choose import built_in
from weightsmith.verify.judge.gates import GATES

if TYPE_CHECKING:
    import click

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAMES = sorted(commands.commands)


def command_of(name: str) -> click.Command:
    found: click.Command = import_module(f"weightsmith.cli.{name.replace('-', '_')}").command
    return found


def examples(name: str) -> list[list[str]]:
    lines = (command_of(name).epilog or "").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("  weightsmith ")]


@pytest.mark.parametrize("name", NAMES)
def test_help_has_three_examples_every_exit_code_and_a_guide_that_is_there(name: str) -> None:
    epilog = command_of(name).epilog or ""
    assert len(examples(name)) == 3
    assert all(f"  {code}  " in epilog for code in (0, 1, 2))
    assert Path(epilog.rpartition("More: ")[2]).parent == DOCS
    assert Path(epilog.rpartition("More: ")[2]).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_taken_by_its_command(name: str) -> None:
    for _, command, *arguments in examples(name):
        words = arguments[: arguments.index(">")] if ">" in arguments else arguments
        with command_of(command).make_context(command, words):
            pass  # a usage error would have been raised


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [60, 80])
def test_examples_are_printed_as_they_are_typed(name: str, width: int) -> None:
    printed = CliRunner().invoke(command_of(name), ["--help"], terminal_width=width).output
    for words in examples(name):
        assert "  " + shlex.join(words).replace("'>'", ">") in printed


def test_what_convert_and_verify_can_be_told_is_listed() -> None:
    listed = CliRunner().invoke(command_of("convert"), ["--list"]).output
    for converter in built_in():
        assert f"\n{converter.name} " in listed
        assert all(f"--set {option}=" in listed for option in converter.options)
    gates = CliRunner().invoke(command_of("verify-on-npu"), ["--list-gates"]).output
    assert all(f"\n{gate.name} " in gates and gate.reason in gates for gate in GATES)


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("infer", "infer-config"),
        ("verify", "verify-on-npu"),
        ("verify-npu", "verify-on-npu"),
        ("convrt", "convert"),
    ],
)
def test_a_command_that_does_not_exist_names_the_one_that_is_meant(typed: str, meant: str) -> None:
    done = CliRunner().invoke(commands, [typed])
    assert done.exit_code == 2 and f"Did you mean {meant}?" in done.output


def test_the_version_stands_alone_on_the_first_line_and_the_stack_on_the_second() -> None:
    from weightsmith import __version__

    first, second = CliRunner().invoke(commands, ["--version"]).output.splitlines()
    assert first == __version__
    assert second.startswith("python ") and "torch " in second
