"""Arguments that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weightsmith.cli.terminal import language
from weightsmith.language import LANGUAGES
from weightsmith.process.targets import is_stdout

if TYPE_CHECKING:
    from weightsmith.json_value import Json

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")
VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Show also what agrees, with its evidence.")
A_PATH = click.Path(path_type=Path)


class _PlaceType(click.Path):
    """A path, or the address of something remote as it was typed: a `Path` would lose a slash of it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from weightsmith.checkpoint.place import names_remote  # `--help` does without that room

        return value if names_remote(value) else Path(value)


A_PLACE = _PlaceType()
CHECKPOINT = click.argument("checkpoint", metavar="CKPT", type=A_PLACE)
CHECKPOINTS = click.argument("checkpoints", metavar="CKPT...", nargs=-1, required=True, type=A_PLACE)
VALUES = click.option(
    "--values",
    metavar="[=full|sample]",
    type=click.Choice(["full", "sample"]),
    help="Read every number, or a sample of each tensor: fusion state, group size, damage.",
)


# `language` has found it already: help and complaints about usage come before there are options.
LANGUAGE = click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default=language,
    show_default="what the environment says",
    help="What the screen and the report are written in.",
)
# Of a command that makes no report.
SCREEN_LANGUAGE = click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    expose_value=False,
    help="What the screen is written in; else what the environment says.",
)


class ValuesAlone(click.Command):
    """Reads `--values` without a value as `--values=full`; click would take the argument behind it for one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--values=full" if arg == "--values" else arg for arg in args])


def pairs(flag: str, given: tuple[str, ...]) -> dict[str, str]:
    """What a repeatable option of the form NAME=VALUE says. Raises click.UsageError for another form."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.UsageError(f"{flag} {text!r} is not NAME=VALUE")
        found[key] = value
    return found


def need_stdout_once(as_json: bool, *outputs: Path | None) -> None:
    """Raises click.UsageError where more than one thing is to be written to stdout."""
    if as_json + sum(map(is_stdout, outputs)) > 1:
        raise click.UsageError("stdout takes one thing: --json, or one output that is -")


def settings(flag: str, given: tuple[str, ...]) -> dict[str, Json]:
    """Such pairs with each value read as JSON; what is no JSON is a word.

    Raises click.UsageError for JSON that nests deeper than any config.
    """
    return {name: _json_or_word(flag, name, text) for name, text in pairs(flag, given).items()}


def _json_or_word(flag: str, name: str, text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise click.UsageError(f"{flag} {name}: its value nests too deep for a setting") from None
    return value
