"""What every command prints is what its schema says, and every key that is printed is known to one."""

from __future__ import annotations

import copy
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from weightsmith.cli import commands
from weightsmith.errors import Usage
from weightsmith.library import schema
from weightsmith.report.schemas import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.report.printed import Document


@pytest.mark.parametrize("command", KINDS)
def test_what_a_command_prints_is_what_its_schema_says(
    found: dict[str, list[Document]], command: str
) -> None:
    validator = Draft202012Validator(schema(command))
    for document in found[command]:
        assert [error.message for error in validator.iter_errors(document)] == []


def test_every_command_that_prints_json_has_a_schema() -> None:
    modules = {name: import_module(f"weightsmith.cli.{name.replace('-', '_')}") for name in commands.commands}
    printing = {name for name, one in modules.items() if any(p.name == "as_json" for p in one.command.params)}
    assert printing | {"error"} == set(KINDS)


def _objects(value: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every object in a document that is one of ours; a config's, or one by names, may have any key."""
    if isinstance(value, dict):
        yield way
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if key not in _FREE:
            yield from _objects(inner, (*way, key))


# Their keys are names of files, fields, tensors, or a model's own.
_FREE = {
    "config", "options", "fingerprint", "dtypes", "auto_map", "unread", "left_out", "unexpressed", "value", "a", "b",
    "candidates", "derived", "configured", "default", "from", "to", "alone", "assignment", "open_fields",
}  # fmt: skip


@pytest.mark.parametrize("command", sorted(KINDS.keys() - {"verify-on-npu"}))
def test_a_key_that_no_schema_knows_is_found(found: dict[str, list[Document]], command: str) -> None:
    validator = Draft202012Validator(schema(command))
    for document in found[command]:
        for way in _objects(document):
            changed = copy.deepcopy(document)
            place: Any = changed
            for key in way:
                place = place[key]
            place["unheard of"] = 1
            assert not validator.is_valid(changed), way


@pytest.mark.parametrize("command", KINDS)
def test_a_schema_is_one_and_says_what_things_are(command: str) -> None:
    made = schema(command)
    Draft202012Validator.check_schema(made)
    definitions: Any = made["$defs"]
    assert all(one["description"] for name, one in definitions.items() if name != "ConfigChangeEntry")


def test_the_command_prints_it() -> None:
    command = import_module("weightsmith.cli.schema").command
    assert json.loads(CliRunner().invoke(command, ["fits"]).output) == schema("fits")
    with pytest.raises(Usage, match="choose from check, convert, diff"):
        schema("schema")
