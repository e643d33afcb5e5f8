"""Damage decides: what `inspect --values` calls damaged exits 1, and is not converted without a word of the user."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from weightsmith import convert, inspect
from weightsmith.cli.group import run
from weightsmith.errors import ConversionRefused
from weightsmith.values.damage import SPECIALS, all_finite

WEIGHT = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))


def spoiled(value, dtype=torch.float32):
    weight = WEIGHT.clone().to(dtype)
    weight[60, 3] = value
    return weight


def save(folder, tensors, index=None):
    folder.mkdir()
    save_file(tensors, folder / "model-00001-of-00001.safetensors")
    if index:
        named = dict.fromkeys(index, "model-00001-of-00001.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    return folder


FAULTS = {
    "nan": ({"a.weight": spoiled(float("nan"))}, None),
    "minus infinity": ({"a.weight": spoiled(float("-inf"), torch.bfloat16)}, None),
    "float8": ({"a.weight": spoiled(float("nan"), torch.float8_e4m3fn)}, None),
    "lost": ({"a.weight": WEIGHT}, ["a.weight", "b.weight"]),
    "no elements": ({"a.weight": WEIGHT, "b.weight": torch.zeros(0)}, None),
}


@pytest.mark.parametrize(("tensors", "index"), FAULTS.values(), ids=FAULTS)
def test_damage_exits_1_and_is_converted_only_when_allowed(tmp_path, capsys, tensors, index):
    source, target = save(tmp_path / "source", tensors, index), tmp_path / "target"
    assert not inspect(source, values="full").sound and inspect(source).sound
    assert run(["inspect", "--values", str(source)]) == 1
    assert run(["inspect", str(source)]) == 0
    with pytest.raises(ConversionRefused, match="--allow-damage"):
        convert(source, target)
    assert not target.exists()
    assert run(["convert", "--allow-damage", str(source), str(target)]) == 0
    written = load_file(target / "model.safetensors")
    for name, tensor in tensors.items():
        assert torch.equal(written[name].view(torch.uint8), tensor.view(torch.uint8))
    capsys.readouterr()


@pytest.mark.parametrize("kind", ["strided", "cast"])
def test_numbers_that_are_not_copied_as_they_lie_are_looked_at_too(tmp_path, kind):
    source = tmp_path / "source"
    source.mkdir()
    torch.save({"a.weight": spoiled(float("inf")).T}, source / "pytorch_model.bin")
    with pytest.raises(ConversionRefused, match="NaN or infinity"):
        convert(source, tmp_path / "target", dtype="bfloat16" if kind == "cast" else None)
    convert(source, tmp_path / "target", allow_damage=True)


def test_an_empty_order_of_channels_is_no_damage(tmp_path):
    source = save(tmp_path / "source", {"a.weight": WEIGHT, "a.g_idx": torch.zeros(0, dtype=torch.int32)})
    convert(source, tmp_path / "target")


def test_a_tensor_in_a_shard_that_the_index_does_not_name_exits_1(tmp_path):
    source = save(tmp_path / "source", {"a.weight": WEIGHT, "b.weight": 2 * WEIGHT}, ["a.weight"])
    assert not inspect(source, values="sample").sound


@pytest.mark.parametrize(
    ("says", "sound"), [("The ternary weights are already fused.", False), ("Ternary weights.", True)]
)
def test_latent_weights_that_a_card_calls_fused_exit_1(tmp_path, says, sound):
    source = save(tmp_path / "source", {"model.layers.0.mlp.up_proj.weight": WEIGHT})
    (source / "README.md").write_text(says)
    found = inspect(source, values="full")
    assert found.survey.fusion.state == "latent" and found.sound is sound


@given(dtype=st.sampled_from(sorted(SPECIALS)), raw=st.binary(min_size=8, max_size=64))
def test_all_finite_is_what_the_patterns_say(dtype, raw):
    width = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}.get(dtype, 1)
    bits = np.frombuffer(raw[: len(raw) // width * width], f"u{width}")
    magnitudes = bits & ((1 << 8 * width - 1) - 1)
    assert all_finite(bits, dtype) == bool((magnitudes < SPECIALS[dtype].end).all())


def test_whole_numbers_are_finite():
    assert all_finite(np.full(4, 0xFF, np.uint8), "I8") and all_finite(np.empty(0, np.uint32), "F32")
