"""What is said of a model's files before any engine starts: shapes, and a sample of the numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.settle.test_settling import made, tokenized
from weightsmith.verify.inputs.files import inspect_files

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.checks import Check


# Of the models that are made here.
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 16,
    "tie_word_embeddings": True,
}


def with_config(model: Path, **changes: int) -> Path:
    (model / "config.json").write_text(json.dumps({**CONFIG, **changes}), encoding="utf-8")
    return model


def config_check(model: Path) -> Check:
    return next(one for one in inspect_files(model).checks if one.name == "config")


def test_a_tokenizer_that_is_off_by_one_fails_before_an_engine_starts(tmp_path: Path) -> None:
    sound = with_config(tokenized(tmp_path / "sound", 0), vocab_size=200)
    assert config_check(sound).verdict == "pass"
    off = with_config(tokenized(tmp_path / "off", 1), vocab_size=200)
    failed = config_check(off)
    assert failed.verdict == "fail"
    assert "another model runs than was trained" in failed.detail
    assert "the ids are not the embedding's rows" in failed.detail
    assert not inspect_files(off).runnable


def test_heads_that_the_numbers_contradict_fail(tmp_path: Path) -> None:
    model = with_config(made(tmp_path / "m", head_gain=0.3), vocab_size=96)
    assert config_check(model).verdict == "pass"
    with_config(model, vocab_size=96, num_attention_heads=4, num_key_value_heads=4, head_dim=32)
    failed = config_check(model)
    assert failed.verdict == "fail"
    assert "head_dim is 16, not 32" in failed.detail
    assert "repair it with" in failed.detail
