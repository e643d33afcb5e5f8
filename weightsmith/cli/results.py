"""How a result leaves a command that shows it on a screen, as JSON, and as a report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.options import A_PATH, need_stdout_once
from weightsmith.phrases import say
from weightsmith.process.targets import is_stdout, need_other, need_writable

if TYPE_CHECKING:
    from collections.abc import Collection

    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.report import Language

REPORT = click.option(
    "--report",
    type=A_PATH,
    metavar="FILE",
    help="Write a report: FILE.html is a page, FILE.json the result itself, else Markdown; - is stdout.",
)


def need_report(report: Path | None, as_json: bool, *inputs: AnyPlace, other: Path | None = None) -> None:
    """Refuses, before any work, a report that could not be written, or that would take an input's place.

    inputs: checkpoints. other: another output of the command. Raises TargetRefused, and click.UsageError where stdout
    would have to hold two things.
    """
    need_stdout_once(as_json, report, other)
    if report is None:
        return
    from weightsmith.checkpoint.small_file import names_in  # `--help` does without that room

    need_writable(report)
    for path in inputs:
        if isinstance(path, Path):
            need_other(report, [path, *(path / name for name in names_in(path))], "is a file of the model")


def delivered(
    result: library.Result,
    as_json: bool,
    report: Path | None,
    language: Language,
    *,
    other: Path | None = None,
    of_config: Collection[str] = (),
) -> bool:
    """Writes what was asked for besides a screen. Whether a screen is still wanted.

    other: another output of the command, which may be what stands on stdout. of_config: as `show_json`.
    """
    screen = not as_json and not is_stdout(report) and not is_stdout(other)
    if as_json or report is not None:
        document = library.document_of(result, command=command_line())
        if report is not None:
            library.report(document, output=report, language=language)
        if as_json:
            terminal.show_json(document, of_config)
    if screen and report is not None:
        terminal.line(say("report: {path}", path=report))
    return screen


def command_line() -> str:
    """As it was typed, for whoever repeats it."""
    return shlex.join(["weightsmith", *sys.argv[1:]])
