"""`weightsmith report`: its arguments, its output, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import A_PATH, AS_JSON, LANGUAGE
from weightsmith.cli.terminal import DONE, line
from weightsmith.phrases import say
from weightsmith.process.targets import is_stdout

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.report import Language

# Where the report goes unless told otherwise: there it is Markdown.
_STDOUT = "-"


@click.command(
    "report",
    epilog=epilog(
        [
            ("weightsmith report result.json -o report.html", "one page with plots"),
            ("weightsmith report result.json --language zh", "Markdown in Chinese, on stdout"),
            ("weightsmith verify-on-npu model/ --json > result.json", "how RESULT.json is made"),
        ],
        ["the report was made, whatever it says", "never", "RESULT.json cannot be read"],
        "verify.md",
    ),
)
@click.argument("result", metavar="RESULT.json", type=A_PATH)
@click.option(
    "-o",
    "--output",
    type=A_PATH,
    default=_STDOUT,
    metavar="FILE",
    help="FILE.md, FILE.html or FILE.json; else Markdown on stdout.",
)
@LANGUAGE
@AS_JSON
def command(result: Path, output: Path, language: Language, as_json: bool) -> int:
    """Render a kept result again: Markdown or HTML, English or Chinese.

    RESULT.json is what infer-config, convert, diff, fits, doctor or verify-on-npu printed with --json.
    """
    if as_json and is_stdout(output):
        raise click.UsageError("stdout takes one thing: with --json, name a file with --output")
    found = library.report(result, output=output, language=language)
    if as_json:
        terminal.show_json(found.document())
    elif not is_stdout(output):
        line(say("report: {path}", path=output))
    return DONE
