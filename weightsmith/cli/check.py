"""`weightsmith check`: its arguments, its lines, its exit code."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Literal

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import A_PATH, CHECKPOINTS, SCREEN_LANGUAGE, VALUES, ValuesAlone
from weightsmith.cli.progress import stages
from weightsmith.cli.terminal import BAD, DONE, FAILED, line
from weightsmith.process.targets import is_stdout, need_writable, write_output

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.check import Checked
    from weightsmith.check.forms import CheckForm
    from weightsmith.checkpoint.place import AnyPlace

# What shows more of a check that failed; of all others infer-config does.
_SHOWN_BY = {"values": "inspect --values", "manifest": "inspect --hashes", "index": "inspect"}
_EXITS = {"sound": DONE, "unsound": BAD, "unreadable": FAILED}


@click.command(
    "check",
    cls=ValuesAlone,
    epilog=epilog(
        [
            (
                "weightsmith check models/a models/b",
                "a line for each thing that is wrong, from headers alone",
            ),
            ("weightsmith check model/ --values --strict", "read every number; warnings count, too"),
            (
                "weightsmith check model/ --format junit -o check.xml",
                "for a CI system; what is wrong is shown, too",
            ),
        ],
        [
            "every checkpoint is sound",
            "one of them is not: what infer-config or inspect says of it is bad",
            "one of them, or a file that decides, cannot be read",
        ],
        "check.md",
    ),
)
@CHECKPOINTS
@VALUES
@click.option("--strict", is_flag=True, help="A warning counts as an error.")
@click.option(
    "--by-folder",
    is_flag=True,
    help="CKPT is a file, such as a changed one: check the folder that it lies in.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif", "junit"]),
    default="text",
    show_default=True,
    help="github: annotations of a workflow.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    type=A_PATH,
    metavar="FILE",
    help="Write it to this file, and show the text; - is stdout.",
)
@SCREEN_LANGUAGE
def command(
    checkpoints: tuple[AnyPlace, ...],
    values: Literal["full", "sample"] | None,
    strict: bool,
    by_folder: bool,
    form: CheckForm,
    as_json: bool,
    output: Path | None,
) -> int:
    """Say whether checkpoints are sound: config, tensors, and the files beside them.

    What infer-config and inspect say of each, and nothing is written. --values reads the numbers, too, and hashes what
    `convert` wrote.
    """
    if as_json and form not in ("text", "json"):
        raise click.UsageError(f"--json and --format {form} exclude each other")
    to_file = None if output is None or is_stdout(output) else output
    if to_file is not None:
        need_writable(to_file)
    with stages() as tell:
        found = library.check(*checkpoints, values=values, strict=strict, by_folder=by_folder, progress=tell)
    _show(found, "json" if as_json else form, to_file)
    return _EXITS[found.verdict]


def _show(found: Checked, form: CheckForm, output: Path | None) -> None:
    """The result in its form, on stdout or in a file; beside a file stdout has it as text."""
    from weightsmith.check.forms import lines, render_checked

    if output is not None:
        write_output(output, render_checked(found, form).encode())
    if output is not None or form == "text":
        for text in lines.lines(found):
            line(text)
        if step := _next_step(found):
            terminal.next_step(step)
    elif form == "json":
        terminal.show_json(found.document())
    else:
        terminal.show_document(render_checked(found, form))


def _next_step(found: Checked) -> str:
    """The command that shows all of what failed first; empty where nothing did."""
    for one in found.checkpoints:
        for check in one.checks:
            if check.verdict == "fail":
                return f"weightsmith {_SHOWN_BY.get(check.name, 'infer-config')} {shlex.quote(one.path)}"
    return ""
