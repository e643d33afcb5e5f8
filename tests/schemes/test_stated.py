"""What a config states about packed weights is taken where it makes sense, and is nothing where it does not."""

from __future__ import annotations

import pytest

from weightsmith.schemes.stated import ScaleBlock, Stated, compressed_block, quantization


def groups(*weights: object) -> dict[str, object]:
    return {"config_groups": {f"group_{n}": {"weights": stated} for n, stated in enumerate(weights)}}


def test_the_text_model_may_state_it() -> None:
    stated = {"quant_method": "fp8"}
    assert quantization({"text_config": {"quantization_config": stated}}) == stated
    assert quantization({"quantization_config": None}) == quantization(None) == {}


@pytest.mark.parametrize(
    ("weights", "bits"),
    [([{"num_bits": 4}], {4}), ([{"num_bits": 4}, {"num_bits": 8}], {4, 8}), ([{"num_bits": 16}], set()),
     ([{"num_bits": "4"}], set()), ([None], set()), ([], set())],
)  # fmt: skip
def test_bits_are_those_of_all_groups(weights: list[object], bits: set[int]) -> None:
    assert Stated(groups(*weights)).bits == bits


def test_blocks_are_two_positive_numbers() -> None:
    assert compressed_block(groups({}, {"block_structure": [32, 64]})) == ScaleBlock(32, 64)
    assert compressed_block(groups({"block_structure": [32, 0]})) is None
    assert Stated({"weight_block_size": [64, 32]}).block == ScaleBlock(64, 32)
    assert Stated({"weight_block_size": [True, 32]}).block is Stated().block is None


def test_other_keys_of_a_config_count_too() -> None:
    assert quantization({"compression_config": {"format": "int-quantized"}}) == {"format": "int-quantized"}
    assert quantization({"quantization": {"bits": 4, "group_size": 64}})["bits"] == 4


def test_a_module_is_spared_by_its_name_or_one_around_it() -> None:
    stated = Stated({"modules_to_not_convert": ["lm_head", "layers.61"]})
    assert stated.spares("lm_head") and stated.spares("model.layers.61.eh_proj")
    assert not stated.spares("model.layers.6.eh_proj")
