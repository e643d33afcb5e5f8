"""docs/contract.md is what `infer-config` does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import weightsmith
from tests.shapes.predicted import predicted, table
from weightsmith.behaviour_finding import BehaviourFinding
from weightsmith.check.result import CheckVerdict, Level
from weightsmith.check.result import Verdict as CheckedVerdict
from weightsmith.cli.infer_config import command
from weightsmith.documents import ValueFindingEntry
from weightsmith.shapes import infer
from weightsmith.shapes.field_reports import Basis, FieldReport, Status
from weightsmith.shapes.inference import Guess, Verdict

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")


def column(heading: str) -> list[str]:
    """The first column of the table under a heading of its own."""
    rows = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [re.sub("`", "", row.split("|")[1]).strip() for row in rows]


def test_the_words_are_those_of_the_code() -> None:
    assert column("verdict | exit code") == list(get_args(Verdict))
    assert column("status") == list(get_args(Status))
    assert column("basis") == [*get_args(Basis), "null"]


def test_every_option_is_there() -> None:
    options = {name for option in command.params for name in option.opts if name.startswith("--")}
    assert set(column("option")) == options


def test_the_documents_have_these_keys() -> None:
    shapes = predicted({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 256})
    document = infer(table(shapes), None).document()
    keys, entry = PAGE.split("An entry of `guesses`")
    assert re.findall(r"^\| `(\w+)` \|", keys.split("## JSON")[1], re.M) == [
        *document,
        "learned",
        "proof",
        "values",
        "behaviour",
        "explanation",
    ]
    entry, told = entry.split("An entry of `values`")
    told, asked = told.split("An entry of `behaviour`")
    assert re.findall(r"^\| `(\w+)` \|", entry, re.M) == [field.name for field in fields(Guess)]
    assert re.findall(r"`(\w+)`", "".join(re.findall(r"^(\|.*?\|)", told, re.M))) == [
        *ValueFindingEntry.__annotations__
    ]
    assert re.findall(r"^\| `(\w+)` \|", asked.split("\n## ")[0], re.M) == [
        field.name for field in fields(BehaviourFinding)
    ]
    (row,) = (line for line in keys.splitlines() if line.startswith("| `fields`"))
    assert re.findall(r"`(\w+)`", row)[1:] == [field.name for field in fields(FieldReport)]


def test_the_page_names_the_checks_of_check_and_the_keys_of_its_document() -> None:
    found = weightsmith.check(Path(__file__).parents[1] / "models" / "ternary-llama")
    assert column("check") == [check.name for check in found.checkpoints[0].checks]
    document = found.document()
    (one,) = document["checkpoints"]  # type: ignore[misc]
    named = set(re.findall(r"`(\w+)`", PAGE.split("## `check`")[1].split("## `convert`")[0]))
    keys = {*document, *one, *(key for check in one["checks"] for key in check)}
    keys |= {key for check in one["checks"] for finding in check["findings"] for key in finding}
    words = {*get_args(CheckVerdict), *get_args(CheckedVerdict), *get_args(Level)}
    assert keys | words <= named
