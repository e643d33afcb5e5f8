"""`--explain` tells how the answer came about, and what it tells is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.fuzz.structures import small_model
from tests.shapes.predicted import table
from weightsmith import library
from weightsmith.cli import commands
from weightsmith.shapes import explained, infer

if TYPE_CHECKING:
    from weightsmith.shapes.explanation import Explanation

LLAMA = Path(__file__).resolve().parents[1] / "models" / "ternary-llama"


def told(model_type: str) -> tuple[Explanation, dict[str, Any]]:
    """What is told of a small model, and the value of each field."""
    _, config, shapes = small_model(model_type)
    found = explained(infer(table(shapes), config))
    assert found.explained is not None
    return found.explained, {row.name: row.derived for row in found.fields}


@pytest.mark.parametrize(
    "model_type", ["llama", "qwen3_moe", "deepseek_v3", "gemma3_text", "zamba2", "bert", "gpt2"]
)
def test_the_equations_hold_for_what_was_derived(model_type: str) -> None:
    told_, fields = told(model_type)
    assert told_.equations and not told_.unlike
    checked = 0
    for one in told_.equations:
        if "[" in one.equation or "max(" in one.equation or "min(" in one.equation:
            continue  # lists and limits are no Python over plain names
        assert eval(one.equation, {"__builtins__": {}}, fields) == one.size, one
        checked += 1
    assert checked > 3


def test_the_first_row_of_what_was_joined_is_the_answer() -> None:
    found = library.infer(LLAMA, explain=True)
    assert found.explained is not None
    derived = {row.name: row.derived for row in found.fields}
    for relation in found.explained.joined:
        assert relation.rows[0].values == {name: derived[name] for name in relation.fields}
        prices = [row.price for row in relation.rows]
        assert prices[0] == min(prices)
    heads = next(r for r in found.explained.joined if "head_dim" in r.fields)
    assert heads.witness == "sizes + rules"
    assert [row.values["head_dim"] for row in heads.rows][:2] == [32, 16]
    assert (heads.rows[0].price, heads.count) == (1.0, 6)
    assert found.explained.alone["hidden_size"] == 128


def test_why_a_field_is_open_is_told() -> None:
    told_, _ = told("qwen3_next")
    reasons = {name: why for relation in told_.said for name, why in relation.open_fields.items()}
    assert reasons.get("mlp_only_layers") == "nothing tells its length"


def test_what_is_set_stands_beside_what_the_weights_say() -> None:
    found = library.infer(LLAMA, explain=True, set={"head_dim": 16})
    assert found.explained is not None
    assert found.explained.said[0].rows[0].values == {"head_dim": 16}
    heads = next(r for r in found.explained.joined if "head_dim" in r.fields)
    assert heads.rows[0].values["head_dim"] == 16
    assert all(row.price >= 1_000 for row in heads.rows[1:]), "to give up what is set is the last resort"


def test_the_screen_and_the_document_tell_the_same() -> None:
    runner = CliRunner()
    screen = runner.invoke(commands, ["infer-config", str(LLAMA), "--explain"]).output
    document = json.loads(runner.invoke(commands, ["infer-config", str(LLAMA), "--explain", "--json"]).output)
    equations = document["explanation"]["equations"]
    assert all(one["equation"] in screen and one["tensor"] in screen for one in equations)
    assert "3. Joined where they share a field" in screen
    plain = json.loads(runner.invoke(commands, ["infer-config", str(LLAMA), "--json"]).output)
    assert "explanation" not in plain
    same = set(plain) - {"made", "command_line", "arguments", "fingerprint"}
    assert {key: document[key] for key in same} == {key: plain[key] for key in same}


def test_where_no_family_fits_there_is_nothing_to_explain() -> None:
    found = explained(infer(table({"nobody.knows.weight": (3, 5)}), None))
    assert found.verdict == "unknown" and found.explained is None
