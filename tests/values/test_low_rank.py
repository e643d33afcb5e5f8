"""A merged LoRA is told by the rank of what it changed; another change is not taken for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from weightsmith.checkpoint import open_checkpoint
from weightsmith.values.diff import LowRank, diff
from weightsmith.values.low_rank import rank_of_difference

if TYPE_CHECKING:
    from pathlib import Path


def rank(difference: np.ndarray) -> int | None:
    return rank_of_difference(lambda: iter(np.array_split(difference, 3)), difference.shape)


@pytest.mark.parametrize("shape", [(96, 64), (200, 512), (512, 200)])
@pytest.mark.parametrize("r", [1, 4, 16])
def test_the_rank_of_a_product_is_found(shape: tuple[int, int], r: int) -> None:
    random = np.random.default_rng(r)
    assert rank(random.normal(size=(shape[0], r)) @ random.normal(size=(r, shape[1]))) == r


@pytest.mark.parametrize("seed", range(5))
def test_a_difference_of_full_rank_is_none(seed: int) -> None:
    random = np.random.default_rng(seed)
    assert rank(random.normal(size=(256, 192))) is None
    falling = random.normal(size=(256, 192)) / np.arange(1, 193) ** 0.5
    assert rank(falling) is None, "as a training leaves it"
    assert rank(np.zeros((256, 192))) is None


def merged(folder: Path, weights: dict[str, torch.Tensor], changed: tuple[str, ...], r: int) -> None:
    """Weights into which an adapter of rank r was merged, in bfloat16: deltas of some percent."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    out = {}
    for name, weight in weights.items():
        if name.endswith(changed):
            down = torch.randn(r, weight.shape[1], generator=generator)
            up = torch.randn(weight.shape[0], r, generator=generator)
            weight = (weight.float() + up @ down * 0.001).to(weight.dtype)
        out[name] = weight
    save_file(out, folder / "model.safetensors")


def test_a_merged_adapter_is_named_with_its_rank_and_its_weights(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"model.layers.{layer}.self_attn.{name}.weight": (
            torch.randn(256, 256, generator=generator) * 0.02
        ).bfloat16()
        for layer in range(4)
        for name in ("q_proj", "k_proj", "v_proj")
    }
    merged(tmp_path / "a", weights, (), 0)
    merged(tmp_path / "b", weights, ("q_proj.weight", "v_proj.weight"), 8)
    found = diff(open_checkpoint(tmp_path / "a"), open_checkpoint(tmp_path / "b"))
    assert found.low_rank == (
        LowRank("model.layers.*.self_attn.q_proj.weight", 8, 4, 2),
        LowRank("model.layers.*.self_attn.v_proj.weight", 8, 4, 2),
    )
    noisy = {
        n: (w.float() + torch.randn(w.shape, generator=generator) * 1e-3).bfloat16()
        for n, w in weights.items()
    }
    merged(tmp_path / "c", noisy, (), 0)
    assert not diff(open_checkpoint(tmp_path / "a"), open_checkpoint(tmp_path / "c")).low_rank


def test_settings_beside_the_weights_are_compared_and_do_not_bear_on_the_verdict(tmp_path: Path) -> None:
    for side, config in (
        ("a", '{"rope": {"theta": 1e4}, "eos_token_id": 2}'),
        ("b", '{"rope": {"theta": 1e6}}'),
    ):
        merged(tmp_path / side, {"w": torch.ones(2)}, (), 0)
        (tmp_path / side / "config.json").write_text(config)
    (tmp_path / "a" / "generation_config.json").write_text("{}")
    found = diff(open_checkpoint(tmp_path / "a"), open_checkpoint(tmp_path / "b"))
    assert found.verdict == "identical"
    assert [(s.name, s.a, s.b) for s in found.settings] == [
        ("rope.theta", 1e4, 1e6),
        ("eos_token_id", 2, "(absent)"),
    ]
