"""What a person sees: a command of ours, run in this process, on a terminal of a certain width."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from weightsmith.cli.group import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class _Plain(io.StringIO):
    """stderr: without the progress that a terminal would get."""

    encoding = "utf-8"


def screen(words: Sequence[str], folder: Path, width: int = 80) -> tuple[int, str, str]:
    """Exit code, stdout with its colours, stderr of `weightsmith words…`, typed in this folder."""
    out, err = _Terminal(), _Plain()
    colours = {"COLUMNS": str(width), "TERM": "xterm-256color", "COLORTERM": ""}
    with (
        patch.dict(os.environ, colours),
        patch.object(sys, "argv", ["weightsmith", *words]),
        patch.object(sys, "stdout", out),
        patch.object(sys, "stderr", err),
        _inside(folder),
    ):
        os.environ.pop("NO_COLOR", None)
        code = run(words)
    return code, out.getvalue(), err.getvalue()


def without_colours(text: str) -> str:
    return _COLOUR.sub("", text)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """contextlib.chdir, which Python 3.10 lacks."""
    before = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
