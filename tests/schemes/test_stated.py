"""What a config states about packed weights is taken where it makes sense, and is nothing where it does not."""

from __future__ import annotations

import pytest

from weightsmith.schemes.stated import (
    ScaleBlock,
    compressed_bits,
    compressed_block,
    compressed_formats,
    fp8_block,
    quantization,
)


def groups(*weights: object) -> dict[str, object]:
    return {"config_groups": {f"group_{n}": {"weights": stated} for n, stated in enumerate(weights)}}


def test_the_text_model_may_state_it() -> None:
    stated = {"quant_method": "fp8"}
    assert quantization({"text_config": {"quantization_config": stated}}) == stated
    assert quantization({"quantization_config": None}) == quantization(None) == {}


@pytest.mark.parametrize(
    ("weights", "bits"),
    [([{"num_bits": 4}], 4), ([{"num_bits": 4}, {"num_bits": 4}], 4), ([{"num_bits": 4}, {"num_bits": 8}], None),
     ([{"num_bits": 16}], None), ([{"num_bits": "4"}], None), ([None], None), ([], None)],
)  # fmt: skip
def test_bits_are_known_where_all_groups_agree(weights: list[object], bits: int | None) -> None:
    assert compressed_bits(groups(*weights)) == bits


def test_blocks_are_two_positive_numbers() -> None:
    assert compressed_block(groups({}, {"block_structure": [32, 64]})) == ScaleBlock(32, 64)
    assert compressed_block(groups({"block_structure": [32, 0]})) is None
    assert fp8_block({"weight_block_size": [64, 32]}) == ScaleBlock(64, 32)
    assert fp8_block({"weight_block_size": [True, 32]}) == fp8_block({}) == ScaleBlock(128, 128)


def test_formats_of_groups_count_too() -> None:
    stated = {"format": "mixed", "config_groups": {"a": {"format": "int-quantized"}, "b": "damaged"}}
    assert compressed_formats(stated) == {"mixed", "int-quantized"}
