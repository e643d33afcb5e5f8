"""Starting the command line: three ways that do the same, and none that loads what the command does not need."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from weightsmith import __version__
from weightsmith.cli import commands

LATENT = Path(__file__).parent.parent / "models" / "ternary-llama"
HEAVY = {"numpy", "torch", "transformers", "vllm", "ml_dtypes", "safetensors", "blake3", "tabulate", "rich"}


def loaded_by(*arguments: str | Path) -> set[str]:
    """Every module that is loaded when the command line has run with these arguments."""
    code = f"""
import sys
sys.argv = ["weightsmith", *{[str(a) for a in arguments]!r}]
from weightsmith.cli import main
try:
    main()
except SystemExit:
    print("\\nloaded:", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


def tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def rooms(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("weightsmith.")}


@pytest.mark.parametrize("question", ["--help", "--version"])
def test_help_loads_no_command_no_room_and_nothing_heavy(question: str) -> None:
    loaded = loaded_by(question)
    assert not tops(loaded) & HEAVY
    assert rooms(loaded) == {"cli", "errors", "foreign_text", "json_value", "language", "process", "version"}
    assert {name for name in loaded if name.startswith("weightsmith.cli.")} == {
        "weightsmith.cli.group",
        "weightsmith.cli.main",
        "weightsmith.cli.streams",
        "weightsmith.cli.terminal",
    }


def test_the_help_of_a_command_loads_that_command_alone() -> None:
    loaded = loaded_by("diff", "--help")
    assert "weightsmith.cli.diff" in loaded and "weightsmith.cli.convert" not in loaded
    assert not tops(loaded) & HEAVY
    bottom = {"errors", "foreign_text", "guide", "json_value", "language", "phrases", "version"}
    assert rooms(loaded) == {"cli", "library", "process", *bottom}


@pytest.mark.parametrize("words", [("infer-config", LATENT, "--json"), ("check", LATENT)], ids=lambda w: w[0])
def test_deriving_a_config_loads_nothing_that_reads_values(words: tuple[str | Path, ...]) -> None:
    loaded = loaded_by(*words)
    assert "weightsmith.shapes.infer" in loaded
    assert not tops(loaded) & (HEAVY - {"tabulate"})


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    command = import_module(f"weightsmith.cli.{name.replace('-', '_')}").command
    listed = commands.commands[name]
    assert command.name == name
    assert command.help is not None and listed.help is not None
    assert " ".join(command.help.split()).startswith(listed.help)


@pytest.mark.parametrize(
    "start",
    [
        [sys.executable, "-m", "weightsmith"],
        [sys.executable, "-m", "weightsmith.cli"],
        [str(Path(sys.executable).with_name("weightsmith"))],
    ],
    ids=["package", "door", "script"],
)
def test_every_way_in_is_the_same_door(start: list[str], tmp_path: Path) -> None:
    done = subprocess.run([*start, "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0], done.stderr) == (0, __version__, "")


@pytest.mark.parametrize(
    "words", [("--help",), ("infer-config", LATENT), ("diff", "--help")], ids=lambda w: w[0]
)
def test_english_loads_no_catalogue(words: tuple[str | Path, ...]) -> None:
    loaded = loaded_by(*words)
    assert "weightsmith.catalogue" not in loaded
    assert "weightsmith.catalogue" in loaded_by(*words, "--language", "zh")


def test_chinese_help_loads_nothing_heavy_either() -> None:
    assert not tops(loaded_by("diff", "--help", "--language", "zh")) & HEAVY
