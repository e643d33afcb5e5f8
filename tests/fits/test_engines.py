"""fits says what real engines said, of published configs and of what a card holds (benchmarks/fits)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks.fits import agreement
from benchmarks.fits.models import kept
from weightsmith.machine.engines import engine

if TYPE_CHECKING:
    from pathlib import Path

# What the class of a config refuses in its own code, or a fault of one transformers: no table tells it.
_NOT_TOLD = {
    "databricks/dbrx-instruct",
    "nvidia/Nemotron-H-56B-Base-8K",
    "nvidia/Nemotron-H-8B-Base-8K",
    "tiiuae/Falcon-H1-0.5B-Instruct",
    # Its config leaves the size of its states to the class, and what is recorded are configs alone.
    "Zyphra/Zamba2-7B",
}


@pytest.mark.parametrize("on", agreement.engines())
def test_loading_is_told_as_that_engine_told_it(on: str) -> None:
    pairs = list(agreement.pairs(on))
    assert len(pairs) > (100 if on.startswith("vllm-ascend") else 300)
    assert {pair.model for pair in pairs if pair.case == "wrong"} <= _NOT_TOLD
    assert sum(pair.case == "open" for pair in pairs) <= 3


def test_the_reason_is_the_engines_own() -> None:
    """Of what both refuse, one of the reasons is what the engine's exception is about."""
    words = {
        "needs-its-own-code": "custom code",
        "unknown-model-type": "does not recognize",
        "unknown-architecture": "are not supported for now",
        "architecture-removed": "was supported in vLLM until",
        "architecture-in-a-plugin": "is not supported in-tree anymore",
        "quantization-deprecated": "is deprecated",
        "unknown-quantization": "Unknown quantization method",
        "states-misfit": "Cannot align ssm_page_size and attn_page_size",
    }
    of_the_platform = "quantization is currently not supported in npu"
    for on in agreement.engines():
        for pair in agreement.pairs(on):
            if pair.case == "right" and pair.why:
                said = any(words[why] in pair.error for why in pair.why)
                refused = "unknown-quantization" in pair.why and of_the_platform in pair.error
                assert said or refused or "KeyError" in pair.error, pair


def test_blocks_grow_for_states_as_the_real_vllm_ascend_let_them_grow() -> None:
    blocks = list(agreement.grown_blocks("vllm-ascend==0.23.0"))
    assert len(blocks) >= 10
    assert [one for one in blocks if one[1] != one[2]] == []


@pytest.mark.parametrize("on", agreement.describers())
def test_a_scheme_is_told_as_the_real_vllm_ascend_told_it(on: str) -> None:
    pairs = [pair for pair in agreement.described_pairs(on) if pair.case != "unanswered"]
    assert len(pairs) > 20
    assert [pair for pair in pairs if pair.case != "right"] == []


@pytest.mark.parametrize("version", ["0.18.0", "0.23.0"])
def test_the_tables_of_schemes_are_what_the_real_vllm_ascend_registered(version: str) -> None:
    """They were read from sources; there the sources ran."""
    ran = json.loads((agreement.OUTCOMES / f"vllm-ascend-{version}.json").read_text())
    known = engine(f"vllm-ascend=={version}")
    assert ran == {"schemes": sorted(known.schemes), "quantization": sorted(known.quantization)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    work = tmp_path_factory.mktemp("models")
    names = {str(said["model"]) for _, said in agreement.recorded() if "error" not in said}
    return {name: kept(name, work) for name in sorted(names)}


def test_a_card_holds_the_blocks_and_the_weights_that_the_engine_had(folders: dict[str, Path]) -> None:
    told = [(version, said) for version, said in agreement.recorded() if "error" not in said]
    assert len({said["model"] for _, said in told}) >= 10
    wrong = [
        one
        for version, said in told
        if not (one := agreement.held(version, said, folders[str(said["model"])])).right
    ]
    assert not wrong
