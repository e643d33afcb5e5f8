"""Configs are published with `Infinity`, which JSON has not: read where it stands, kept, and never put in by us."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.predicted import predicted, table
from weightsmith import library
from weightsmith.cli.terminal import show_json
from weightsmith.json_value import is_finite
from weightsmith.shapes import infer
from weightsmith.shapes.page.page import load_page

if TYPE_CHECKING:
    from pathlib import Path

MAMBA2: dict[str, Any] = {
    "model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"], "vocab_size": 160, "hidden_size": 64,
    "num_hidden_layers": 2, "num_heads": 8, "head_dim": 16, "n_groups": 2, "state_size": 16, "expand": 2,
    "time_step_limit": [0.0, math.inf], "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def test_a_published_infinity_is_read_and_stays_byte_for_byte(tmp_path: Path) -> None:
    write_headers_only(tmp_path, predicted(MAMBA2))
    text = json.dumps({**MAMBA2, "vocab_size": 200}, indent=1)
    (tmp_path / "config.json").write_text(text)
    found = library.infer(tmp_path, write=True)
    assert [field.name for field in found.changes] == ["vocab_size"]
    assert found.config["time_step_limit"] == [0.0, math.inf]
    assert (tmp_path / "config.json").read_text() == text.replace("200", "160")


@pytest.mark.parametrize("model_type", ["mamba2", "bamba", "nemotron_h"])
def test_a_derived_config_holds_only_what_json_can(model_type: str) -> None:
    page = load_page(model_type)
    assert not all(map(is_finite, page.unverifiable.values())), "the class's own default is infinite"
    found = infer(table(predicted({"model_type": model_type, "num_hidden_layers": 2})), None)
    assert found.verdict == "guessed" and found.architecture.model_type == model_type
    json.dumps(found.config, allow_nan=False)


def test_the_printed_config_is_json_and_reads_as_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    limits = {"limit": [0.0, math.inf], "low": {"Infinity": -math.inf}, "word": "Infinity", "none": math.nan}
    show_json({"config": limits, "figures": limits}, of_config=("config",))
    text = capsys.readouterr().out

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(text, parse_constant=refuse)
    assert read["config"] == {**limits, "none": None}
    assert read["figures"] == {
        "limit": [0.0, None],
        "low": {"Infinity": None},
        "word": "Infinity",
        "none": None,
    }


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, [0.0, math.inf]])
def test_no_setting_that_is_no_number_ends_in_a_traceback(value: Any) -> None:
    """Where sizes are reckoned from a setting, infinity is as good as none."""
    for model_type, name in (("mamba2", "expand"), ("mamba2", "state_size"), ("llama", "partial_rotary_factor"),
                             ("bamba", "partial_rotary_factor"), ("mamba2", "time_step_rank")):  # fmt: skip
        shapes = predicted({"model_type": model_type, "num_hidden_layers": 2})
        infer(table(shapes), {"model_type": model_type, "num_hidden_layers": 2, name: value})


@pytest.mark.parametrize(
    ("raw", "fact"),
    [
        (b'\xef\xbb\xbf{"eos_token_id": 2}', "starts with a byte order mark"),
        ('{"eos_token_id": 2}'.encode("utf-16"), "is UTF-16"),
        (b'{"eos_token_id": 2, "eos_token_id": 3}', "has the key 'eos_token_id' twice"),
        (b'{"eos_token_id": 2} // the end', "holds a comment"),
    ],
)
@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json"])
def test_a_side_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, raw: bytes, fact: str) -> None:
    write_headers_only(tmp_path, predicted(MAMBA2))
    (tmp_path / "config.json").write_text(json.dumps(MAMBA2))
    (tmp_path / name).write_bytes(raw)
    (problem,) = library.infer(tmp_path).problems
    assert problem.code == "side-file" and problem.message.startswith(f"{name} {fact}")
