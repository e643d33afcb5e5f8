"""What a shell offers for `weightsmith …` and Tab: commands, options, and the names that a value can be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.docs.pages import DOCS, blocks
from weightsmith.cli import commands
from weightsmith.convert.plan.choose import built_in
from weightsmith.shapes.page.page import catalog_types

PROGRAM = Path(sys.executable).with_name("weightsmith")


def offered(*words: str) -> list[str]:
    """What the last word can become, as click tells bash."""
    typed = {"COMP_WORDS": " ".join(["weightsmith", *words]), "COMP_CWORD": str(len(words))}
    asked = {"_WEIGHTSMITH_COMPLETE": "bash_complete", **typed}
    output = CliRunner().invoke(commands, [], env=asked, prog_name="weightsmith").output
    return [line.partition(",")[2] for line in output.splitlines()]


def line_of(shell: str) -> str:
    """What the docs tell people to write into the file of their shell."""
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    (line,) = (
        line
        for block in blocks(text)
        for line in block.lines
        if line.endswith(f" {shell}") or f"# {shell} " in line
    )
    return line


def test_commands_and_options_are_offered() -> None:
    assert offered("") == sorted(commands.commands)
    assert offered("in") == ["infer-config", "inspect"]
    assert {"--write", "--model-type", "--set"} <= set(offered("infer-config", "--"))


def test_converters_families_and_chips_are_offered() -> None:
    assert offered("convert", "--converter", "") == [converter.name for converter in built_in()]
    qwen = [name for name in catalog_types() if name.startswith("qwen3")]
    assert len(qwen) > 1 and offered("infer-config", "--model-type", "qwen3") == qwen
    assert offered("fits", "--chip", "91") == ["910B", "910C"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_of_the_docs_makes_a_script_for_each_shell(shell: str) -> None:
    assert f"{shell}_source weightsmith" in line_of(shell)
    asked = {"_WEIGHTSMITH_COMPLETE": f"{shell}_source"}
    done = CliRunner().invoke(commands, [], env=asked, prog_name="weightsmith")
    assert done.exit_code == 0 and f"_WEIGHTSMITH_COMPLETE={shell}_complete" in done.output
    if checker := shutil.which(shell):
        subprocess.run([checker, "-n"], input=done.output, text=True, check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_completes_with_the_installed_program() -> None:
    asks = (
        "COMP_WORDS=(weightsmith convert --converter tern); COMP_CWORD=3; _weightsmith_completion weightsmith"
    )
    script = f'{line_of("bash")}\n{asks}\necho "${{COMPREPLY[@]}}"'
    env = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ternary"]
