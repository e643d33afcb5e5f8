"""The verdict on ternary weights: neither a latent checkpoint is called fused, nor a fused one latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.values.making import (
    CONFIG,
    QUANTIZER,
    fused_llama,
    is_fusable,
    latent_llama,
    save,
    save_bin,
    torch_fuse,
)
from weightsmith.checkpoint import open_checkpoint
from weightsmith.values.value_survey import survey_values

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.values.fusion import Fusion

CARD = "A ternary-quantized model. The ternary weights are already fused.\n"


def verdict(folder: Path, sample: bool = False) -> Fusion:
    return survey_values(open_checkpoint(folder), sample=sample).fusion


@pytest.mark.parametrize("sample", [False, True])
@pytest.mark.parametrize("group", [16, 32, 128, 256, -1])
def test_fused_weights_show_their_group_size(tmp_path: Path, group: int, sample: bool) -> None:
    fusion = verdict(save(tmp_path, fused_llama(group)), sample)
    # Rows of 256 and 512 channels tell 256 from a whole row.
    assert (fusion.state, fusion.group_size, fusion.tensors_checked) == ("fused", group, 6)


def test_a_group_size_that_is_no_power_of_two_is_found(tmp_path: Path) -> None:
    weight = torch_fuse((torch.randn(128, 480) * 0.02).bfloat16(), 96)
    assert verdict(save(tmp_path, {"model.layers.0.mlp.down_proj.weight": weight})).group_size == 96


def test_fused_weights_in_other_dtypes_are_recognised(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.float16):
        fusion = verdict(save(tmp_path / str(dtype), fused_llama(128, dtype=dtype)))
        assert (fusion.state, fusion.group_size) == ("fused", 128)


def test_normalised_zeros_do_not_change_the_verdict(tmp_path: Path) -> None:
    tensors = {name: t + 0.0 if is_fusable(name) else t for name, t in fused_llama(128).items()}
    assert verdict(save(tmp_path, tensors)).group_size == 128


def test_full_precision_weights_are_none_without_a_claim(tmp_path: Path) -> None:
    fusion = verdict(save(tmp_path, latent_llama()))
    assert (fusion.state, fusion.group_size) == ("none", None)


@pytest.mark.parametrize("sample", [False, True])
def test_the_card_may_lie_but_the_numbers_do_not(tmp_path: Path, sample: bool) -> None:
    save_bin(tmp_path, latent_llama())
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "modeling_x.py").write_text(QUANTIZER)
    fusion = verdict(tmp_path, sample)
    assert (fusion.state, fusion.group_size) == ("latent", 128)
    assert "different magnitudes" in fusion.evidence[0]
    assert any("already fused" in sentence for sentence in fusion.evidence)
    assert any("SteTernaryQuantizer" in sentence for sentence in fusion.evidence)


def test_a_claim_does_not_make_fused_weights_latent(tmp_path: Path) -> None:
    save(tmp_path, fused_llama(128))
    (tmp_path / "modeling_x.py").write_text(QUANTIZER)
    assert verdict(tmp_path).state == "fused"


def test_half_fused_is_mixed(tmp_path: Path) -> None:
    tensors = fused_llama(128)
    tensors["model.layers.1.mlp.up_proj.weight"] = latent_llama()["model.layers.1.mlp.up_proj.weight"]
    fusion = verdict(save(tmp_path, tensors))
    assert (fusion.state, fusion.group_size) == ("mixed", 128)
    assert any("model.layers.1.mlp.up_proj.weight" in sentence for sentence in fusion.evidence)


def test_one_latent_group_in_the_last_row_is_found(tmp_path: Path) -> None:
    tensors = fused_llama(128)
    name = "model.layers.1.mlp.down_proj.weight"
    tensors[name][-1, -128:] = latent_llama()[name][-1, -128:]
    fusion = verdict(save(tmp_path, tensors))
    assert fusion.state == "mixed"
    assert any("row 255" in sentence for sentence in fusion.evidence)


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(256, 256),
        torch.full((256, 256), 0.5),
        torch.eye(256),
        torch.ones(256, 256) * torch.linspace(0.1, 1, 256)[:, None],
        torch.zeros(256, 256).index_put_(
            (torch.tensor([3, 4]), torch.tensor([5, 6])), torch.tensor([1.0, -1.0])
        ),
    ],
    ids=["zero", "constant", "identity", "constant rows", "two numbers"],
)
def test_uniform_weights_are_no_evidence(tmp_path: Path, weight: torch.Tensor) -> None:
    fusion = verdict(save(tmp_path, {"model.layers.0.mlp.up_proj.weight": weight.bfloat16()}))
    assert (fusion.state, fusion.tensors_checked) == ("none", 0)


def test_dead_tensors_do_not_hide_the_group_size_of_the_others(tmp_path: Path) -> None:
    tensors = fused_llama(128)
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(512, 256, dtype=torch.bfloat16)
    fusion = verdict(save(tmp_path, tensors))
    assert (fusion.state, fusion.group_size, fusion.tensors_checked) == ("fused", 128, 5)


def test_groups_of_only_zeros_are_no_boundary(tmp_path: Path) -> None:
    tensors = fused_llama(128)
    for name in tensors:
        if is_fusable(name):
            tensors[name][:, 128:256] = 0
    assert verdict(save(tmp_path, tensors)).group_size == 128


def test_tiny_rows_are_no_evidence(tmp_path: Path) -> None:
    weight = torch_fuse(torch.randn(4, 8).bfloat16(), 8)
    assert verdict(save(tmp_path, {"model.layers.0.mlp.up_proj.weight": weight})).state == "none"


def test_embeddings_norms_and_head_are_not_looked_at(tmp_path: Path) -> None:
    tensors = fused_llama(128)
    assert not is_fusable("lm_head.weight")
    assert verdict(save(tmp_path, tensors)).tensors_checked == sum(map(is_fusable, tensors))


@pytest.mark.parametrize("name", ["weight_packed", "qweight"])
def test_packed_integers_are_packed(tmp_path: Path, name: str) -> None:
    tensors = latent_llama()
    tensors[f"model.layers.0.mlp.gate_proj.{name}"] = torch.zeros(256, 32, dtype=torch.int32)
    assert verdict(save(tmp_path, tensors)).state == "packed"


def test_eight_bit_floats_are_packed(tmp_path: Path) -> None:
    weight = torch.zeros(64, 64).to(torch.float8_e4m3fn)
    assert verdict(save(tmp_path, {"model.layers.0.mlp.up_proj.weight": weight})).state == "packed"


def test_transposed_storage_is_read_the_right_way(tmp_path: Path) -> None:
    """The groups run along the input channels of the tensor, not along the bytes of its storage."""
    fused = fused_llama(128)
    tensors = {name: t.t().contiguous().t() if is_fusable(name) else t for name, t in fused.items()}
    assert not tensors["model.layers.0.mlp.up_proj.weight"].is_contiguous()
    assert verdict(save_bin(tmp_path, tensors)).group_size == 128


def test_the_config_may_make_the_claim(tmp_path: Path) -> None:
    config = {**CONFIG, "quantization": {"quant_type": "ternary", "group_size": 64}}
    fusion = verdict(save(tmp_path, latent_llama(), config))
    assert (fusion.state, fusion.group_size) == ("latent", 64)
