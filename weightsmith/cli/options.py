"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")
A_PATH = click.Path(path_type=Path)
CHECKPOINT = click.argument("checkpoint", metavar="CKPT", type=A_PATH)


def pairs(flag: str, given: tuple[str, ...]) -> dict[str, str]:
    """What a repeatable option of the form NAME=VALUE says. Raises click.UsageError for another form."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.UsageError(f"{flag} {text!r} is not NAME=VALUE")
        found[key] = value
    return found
