"""A config says by its words which transformers it was written for; the other one may take something else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shapes.predicted import predicted, table
from tests.shapes.test_packed import CONFIG, SIZES
from weightsmith.shapes import infer
from weightsmith.shapes.beside.dialect import dialect_of, misread
from weightsmith.shapes.reference import meta_models

OLD = {"rope_theta": 1e6, "rope_scaling": None, "torch_dtype": "bfloat16"}
NEW = {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("config", "dialect"),
    [
        (OLD, "transformers-4"),
        (NEW, "transformers-5"),
        ({**OLD, **NEW}, "transformers-5"),
        ({"transformers_version": "4.57.1"}, "transformers-4"),
        ({"transformers_version": "5.0.0"}, "transformers-5"),
        ({"text_config": OLD}, "transformers-4"),
        ({"text_config": NEW, "torch_dtype": "bfloat16"}, "transformers-5"),
        ({"model_type": "gpt2"}, None),
    ],
)
def test_the_dialect_is_told_from_words_that_one_version_writes(
    config: dict[str, Any], dialect: str | None
) -> None:
    assert dialect_of(config) == dialect


@pytest.mark.parametrize(
    ("config", "lost"),
    [
        (OLD, []),
        ({**OLD, **NEW}, []),
        (NEW, ["rope_theta"]),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4}}, ["rope_theta and rope_scaling"]),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}},
         ["rope_theta"]),
        ({"rope_parameters": {"mrope_section": [8, 12, 12]}}, ["rope_scaling"]),
    ],
)  # fmt: skip
def test_what_transformers_4_does_not_read_is_said(config: dict[str, Any], lost: list[str]) -> None:
    said = [f"transformers 4 does not read rope_parameters: it takes {words} of its class" for words in lost]
    assert list(misread(config)) == said
    inside = [s.replace("rope_parameters", "text_config.rope_parameters") for s in said]
    assert list(misread({"text_config": config})) == inside


def test_what_transformers_writes_today_is_its_own_dialect() -> None:
    meta_models.prepare()
    written = meta_models.make_config("qwen3", {"rope_theta": 1e6}).to_dict()
    assert written["rope_parameters"]["rope_theta"] == 1e6
    assert dialect_of(written) == "transformers-5" and list(misread(written))


def test_the_dialect_is_that_of_the_file_and_a_new_config_rests_on_today_s_defaults() -> None:
    tensors = table(predicted(CONFIG | SIZES))
    filed = infer(tensors, {**CONFIG, **SIZES, "rope_theta": 1e6}).document()
    assert (filed["dialect"], filed["misread"]) == ("transformers-4", [])
    assert infer(tensors, None).document()["dialect"] == "transformers-5"
