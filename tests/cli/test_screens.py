"""What people see: what is wrong comes first, everything fits the terminal, and the last line says what to do."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from weightsmith import library
from weightsmith.cli import check, diff, infer_config, inspect, terminal
from weightsmith.cli.layout import width_of
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable

LATENT = Path(__file__).parent.parent / "models" / "ternary-llama"
WIDTHS = (60, 80, 100, 140)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Screen(io.StringIO):
    """A terminal that remembers what was written."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, width: int, show: Callable[[], None]) -> list[str]:
    """The lines of a terminal of this width, without their colours."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((width, 40)))
    monkeypatch.setenv("TERM", "xterm-256color")
    show()
    return COLOUR.sub("", screen.getvalue()).splitlines()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("what", ["infer-config", "bare", "inspect", "diff", "check"])
def test_no_line_is_wider_than_the_terminal(
    what: str, width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "pytorch_model.bin"
    bare.symlink_to(LATENT / "pytorch_model.bin")
    shows: dict[str, Callable[[], None]] = {
        "infer-config": lambda: infer_config._show(library.infer(LATENT), verbose=True),
        "bare": lambda: infer_config._show(library.infer(bare), verbose=False),
        "inspect": lambda: inspect._show(library.inspect(LATENT)),
        "check": lambda: check._show(library.check(LATENT, LATENT.parent / "hrm-text"), "text", None),
        "diff": lambda: diff._show(library.diff(LATENT, LATENT.parent / "hrm-text")),
    }
    lines = shown(monkeypatch, width, shows[what])
    folded = [line for line in lines if not line.startswith("next: ")]
    # The path of a temporary folder may have no place to break.
    too_wide = [line for line in folded if width_of(line) > width and str(tmp_path) not in line]
    assert not too_wide


def test_what_differs_comes_first_and_what_agrees_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = library.infer(LATENT)
    lines = shown(monkeypatch, 100, lambda: infer_config._show(found, verbose=False))
    text = "\n".join(lines)
    assert [line.split()[0] for line in lines if "✗ differs" in line] == [
        field.name for field in found.changes
    ]
    assert "agrees" not in text.partition("fields agree")[0]
    assert "6 fields agree: num_key_value_heads, head_dim" in text
    assert lines[-2].startswith("verdict: differs") or lines[-3].startswith("verdict: differs")
    assert lines[-1] == f"next: weightsmith infer-config {LATENT} --write"


def test_everything_is_shown_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = library.infer(LATENT)
    text = "\n".join(shown(monkeypatch, 140, lambda: infer_config._show(found, verbose=True)))
    assert text.count("✓ agrees") == 6
    assert "rope_theta=10000.0" in text and "bos_token_id=null" in text, "as JSON has them"
    assert "mistral, smollm3 as well" in text


def test_an_error_is_coloured_on_a_terminal_and_folded_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    error = MissingInput(
        "model", "does not exist", "check the path of the folder or of the file that you mean"
    )
    lines = shown(monkeypatch, 60, lambda: terminal.fail(error))
    assert len(lines) == 2 and all(len(line) <= 60 for line in lines)
    assert " ".join(line.strip() for line in lines).startswith("error: model: does not exist; check the path")


def test_without_colour_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    terminal.line("verdict: pass")
    assert "\x1b[3" not in screen.getvalue() and "verdict: pass" in screen.getvalue()


def test_a_table_without_rows_has_its_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    terminal.table([], ["fact", "count"], right=("count",))
    assert file.getvalue().split()[:2] == ["fact", "count"]
    lines = shown(monkeypatch, 60, lambda: terminal.table([], ["fact", "count"]))
    assert lines[0].split() == ["fact", "count"]


def test_a_file_gets_whole_lines_and_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    infer_config._show(library.infer(LATENT), verbose=False)
    assert "\x1b" not in file.getvalue()
    assert "axis 0 = 128: num_attention_heads * head_dim (config keeps" in file.getvalue()
