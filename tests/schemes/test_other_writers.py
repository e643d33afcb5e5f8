"""What other versions of tools write, and what no scheme here undoes: made right, or refused by name; never copied."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.schemes.storing import made, stored, weight_of
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused
from weightsmith.schemes import plain_view
from weightsmith.schemes.formula import Fault, Formula
from weightsmith.schemes.stated import Stated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.checkpoint.arrays import Array

ROWS, COLUMNS = 16, 64


def written(folder: Path, parts: Mapping[str, Array], section: Mapping[str, object] | None) -> Path:
    """A checkpoint of one module `layers.0.m` of these parts, and a norm."""
    folder.mkdir()
    tensors = {f"layers.0.m.{part}": array for part, array in parts.items()}
    save_file({**tensors, "norm.weight": np.ones(COLUMNS, np.float16)}, folder / "model.safetensors")
    config = {"model_type": "somebodys"} | ({"quantization_config": section} if section else {})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# As each writer stores a linear layer; the arrays' numbers do not matter.
UNKNOWN: dict[str, tuple[str, dict[str, Array]]] = {
    "HQQ": ("hqq", {"W_q": np.zeros((8, 64), np.uint8), "scale": np.ones((16, 1), np.float16)}),
    "QuIP#": ("quip", {"Qidxs": np.zeros((16, 8), np.int16), "SU": np.ones(64, np.float16)}),
    "ExLlamaV3": ("exl3", {"trellis": np.zeros((4, 1, 64), np.int16), "suh": np.ones(64, np.float16)}),
    "SpQR": ("spqr", {"dense_weights": np.zeros(64, np.int64), "col_vals": np.zeros(4, np.int32)}),
    "Marlin": ("gptq", {"B": np.zeros((4, 32), np.int32), "s": np.ones((1, 16), np.float16)}),
    "sparse bitmask": (
        "compressed-tensors",
        {"compressed": np.ones((16, 32), np.float16), "bitmask": np.zeros((16, 8), np.uint8)},
    ),
}


@pytest.mark.parametrize("writer", UNKNOWN)
def test_codes_of_a_stated_quantizer_are_never_copied_in_silence(tmp_path: Path, writer: str) -> None:
    method, parts = UNKNOWN[writer]
    source = written(tmp_path / "src", parts, {"quant_method": method})
    with pytest.raises(ConversionRefused, match=rf"layers\.0\.m\..*calls {method}.*--converter plain"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("writer", ["HQQ", "QuIP#", "ExLlamaV3"])
def test_names_that_only_a_quantizer_writes_need_no_word_of_a_config(tmp_path: Path, writer: str) -> None:
    source = written(tmp_path / "src", UNKNOWN[writer][1], None)
    with pytest.raises(ConversionRefused, match="not known here"):
        convert(source, tmp_path / "out")


def test_masks_and_tables_of_a_plain_model_are_no_codes(tmp_path: Path) -> None:
    parts = {"bias": np.zeros((1, 1, 4, 4), np.uint8), "q.weight": np.ones((4, 4), np.float16)}
    table = {"gate.weight": np.ones((4, 4), np.float16), "gate.tid2eid": np.zeros((8, 2), np.int32)}
    source = written(tmp_path / "src", parts | table, {"quant_method": "bitsandbytes"})
    convert(source, tmp_path / "out")
    assert load_file(tmp_path / "out/model.safetensors").keys() >= {
        "layers.0.m.bias",
        "layers.0.m.gate.tid2eid",
    }


def test_marlin_24_is_named_and_not_called_damaged() -> None:
    words = {"weight_packed": np.zeros((2, 32), np.int32), "meta": np.zeros((16, 4), np.int16)}
    answer = weight_of(stored(words | {"scale_packed": np.ones((1, 16), np.float16)})).made
    assert isinstance(answer, Fault)
    assert "marlin-24" in answer.fact and "damaged" not in answer.way_out


def gptq(bits: int, group: int, seed: int = 0) -> tuple[dict[str, Array], Array]:
    """A module as GPTQ stores it, and its weight: codes along the inputs, zero points less one."""
    random = np.random.default_rng(seed)
    groups = COLUMNS // group
    codes = random.integers(0, 1 << bits, (ROWS, COLUMNS))
    zeros = random.integers(1, 1 << bits, (ROWS, groups))
    scales = random.random((ROWS, groups)).astype(np.float16)
    of_channel = np.arange(COLUMNS) // group
    parts = {
        "qweight": _words(codes, bits).T.copy(),
        "qzeros": _words((zeros - 1).T, bits),
        "scales": scales.T.copy(),
    }
    return parts, ((codes - zeros[:, of_channel]) * scales[:, of_channel].astype(np.float32)).astype(
        np.float32
    )


def _words(codes: Array, bits: int) -> Array:
    """Rows of codes as rows of 32-bit words, lowest bits first."""
    stream = (codes[..., None] >> np.arange(bits) & 1).astype(np.uint8).reshape(len(codes), -1)
    return np.packbits(stream, axis=1, bitorder="little").view(np.int32)


@pytest.mark.parametrize("key", ["dynamic", "extra_config"])
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 16)])
def test_some_modules_may_have_other_bits_and_groups(key: str, bits: int, group: int) -> None:
    """GPTQModel names them under `dynamic`, AutoRound under `extra_config`."""
    section = {"bits": 4, "group_size": 32, key: {"re:.*down.*": {"bits": 8, "group_size": 16}}}
    parts, weight = gptq(bits, group)
    assert np.array_equal(made(stored(parts, section), parts), weight)


def test_bits_that_nobody_states_are_still_a_contradiction() -> None:
    parts, _ = gptq(2, 32)
    answer = weight_of(stored(parts, {"bits": 4, "dynamic": {"down": {"bits": 8}}})).made
    assert isinstance(answer, Fault) and "the config says 4, 8" in answer.fact


def test_one_scale_a_row_beside_groups_is_no_contradiction() -> None:
    section = {"bits": 4, "group_size": 32, "dynamic": {"down": {"group_size": -1}}}
    parts, weight = gptq(4, COLUMNS)
    assert np.array_equal(made(stored(parts, section), parts), weight)
    assert Stated(section).groups == ()


@pytest.mark.parametrize(
    ("locations", "refused"),
    [
        (("input", "weight_input"), True),
        (("weight_output", "weight_input"), False),
        (("q_attn", "k_cache"), False),
    ],
)
def test_weights_that_an_engine_turns_back_while_it_runs_are_not_the_models(
    locations: tuple[str, ...], refused: bool
) -> None:
    applied = [{"targets": ["Linear"], "location": place} for place in locations]
    section = {"transform_config": {"config_groups": {"R4": {"type": "hadamard", "apply": applied}}}}
    codes = {"weight": np.ones((4, 8), np.int8), "weight_scale": np.ones((4, 1), np.float32)}
    answer = weight_of(stored(codes, section)).made
    assert isinstance(answer, Fault) == refused
    assert not isinstance(answer, Fault) or "another basis" in answer.fact


@pytest.mark.parametrize(("inputs", "outputs"), [(6, 4), (4, 4)])
@pytest.mark.parametrize("column", [True, False])
def test_experts_of_fbgemm_have_a_scale_for_each_output(inputs: int, outputs: int, column: bool) -> None:
    """They are stored [experts, inputs, outputs], so that a scale lies on a column, even of a square."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 0x60, (3, inputs, outputs)).astype(np.uint8)
    scale = random.random((3, 1, outputs) if column else (3, outputs, 1)).astype(np.float32)
    parts = {"weight": codes, "weight_scale": scale}
    module = stored(parts, {"quant_method": "fbgemm_fp8"}, dtypes={"weight": "F8_E4M3"})
    import ml_dtypes

    exact = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale.reshape(3, 1, outputs)
    assert np.array_equal(made(module, parts), exact)


def test_scales_of_attention_in_8_bits_are_no_parameters(tmp_path: Path) -> None:
    parts = {
        "q_proj.weight": np.ones((8, 8), np.int8), "q_proj.weight_scale": np.ones((8, 1), np.float32),
        "q_proj.weight_offset": np.zeros((8, 1), np.float32), "fa_q.scale": np.ones((4, 1), np.float32),
        "fa_q.offset": np.zeros((4, 1), np.float32), "o_proj.weight": np.ones((8, 8), np.float16),
    }  # fmt: skip
    view = plain_view(open_checkpoint(written(tmp_path / "src", parts, None)))
    assert view.elements == 8 * 8 + 8 * 8 + COLUMNS
    assert isinstance(view.modules[0].made, Formula)
