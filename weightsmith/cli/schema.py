"""`weightsmith schema`: its argument, its output."""

from __future__ import annotations

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import SCREEN_LANGUAGE
from weightsmith.cli.terminal import DONE


@click.command(
    "schema",
    epilog=epilog(
        [
            (
                "weightsmith schema infer-config > infer-config.schema.json",
                "for a validator, or to make types from",
            ),
            ("weightsmith schema verify-on-npu", "the same for another command"),
            ("weightsmith schema error", "what every command prints instead where it exits 2"),
        ],
        ["the schema was printed", "never", "COMMAND prints no JSON"],
        "contract.md",
    ),
)
@click.argument("command", metavar="COMMAND")
@SCREEN_LANGUAGE
def command(command: str) -> int:
    """Print the JSON Schema of what COMMAND prints with --json.

    JSON Schema 2020-12, of this version. COMMAND is a command's name, or `error`.
    """
    terminal.show_json(library.schema(command))
    return DONE
