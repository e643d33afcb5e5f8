"""What two checkpoints are to each other: told of copies and descendants, never of strangers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import weightsmith
from tests.values.making import save
from weightsmith.values.unseen.kinship import (
    apart,
    fisher,
    kinship,
    log10_tail,
    log_kolmogorov,
)

MODELS = Path(__file__).resolve().parents[1] / "models"
LATENT = MODELS / "ternary-llama"
SEEDS = st.integers(0, 10**6)


def model(seed: int, layers: int = 3) -> dict[str, torch.Tensor]:
    """The feed-forward blocks of a Llama whose neurons have grown to different sizes."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {"model.embed_tokens.weight": torch.randn(64, 96, generator=draw)}
    for layer in range(layers):
        size = torch.exp(0.2 * torch.randn(256, generator=draw))
        prefix = f"model.layers.{layer}.mlp."
        tensors[f"{prefix}gate_proj.weight"] = torch.randn(256, 96, generator=draw)
        tensors[f"{prefix}up_proj.weight"] = torch.randn(256, 96, generator=draw) * size[:, None]
        tensors[f"{prefix}down_proj.weight"] = torch.randn(96, 256, generator=draw) * size[None, :]
    return tensors


def told(folder: Path, a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> tuple[str, str | None]:
    found = weightsmith.diff(save(folder / "a", a), save(folder / "b", b), lineage=True).lineage
    assert found is not None
    return found.relation, found.towards


def moved(tensors: dict[str, torch.Tensor], by: float) -> dict[str, torch.Tensor]:
    """As training further moves weights: by a part of their own size."""
    draw = torch.Generator().manual_seed(99)
    return {n: t + by * t.std() * torch.randn(t.shape, generator=draw) for n, t in tensors.items()}


def on_four_bits(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    rounded = {}
    for name, tensor in tensors.items():
        parts = tensor.reshape(tensor.shape[0], -1, 32)
        scale = parts.abs().amax(-1, keepdim=True) / 7
        rounded[name] = ((parts / scale).round() * scale).reshape(tensor.shape)
    return rounded


def permuted(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    order = torch.randperm(256, generator=torch.Generator().manual_seed(5))
    return {
        name: t[order] if "up_proj" in name or "gate" in name else t[:, order] if "down" in name else t
        for name, t in tensors.items()
    }


def rotated(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    turn, _ = torch.linalg.qr(torch.randn(96, 96, generator=torch.Generator().manual_seed(5)))
    return {name: turn.T @ t if "down" in name else t @ turn for name, t in tensors.items()}


def test_a_descendant_is_told_from_a_copy_and_a_stranger(tmp_path: Path) -> None:
    base = model(0)
    assert told(tmp_path / "same", base, dict(base)) == ("same", None)
    assert told(tmp_path / "moved", base, moved(base, 0.2)) == ("trained", None)
    assert told(tmp_path / "rounded", base, on_four_bits(base)) == ("quantized", "A→B")
    assert told(tmp_path / "back", on_four_bits(base), base) == ("quantized", "B→A")
    assert told(tmp_path / "permuted", base, permuted(base)) == ("permuted", None)
    assert told(tmp_path / "rotated", base, rotated(base)) == ("rotated", None)
    assert told(tmp_path / "stranger", base, model(1)) == ("unrelated", None)


def test_models_without_such_blocks_are_not_judged(tmp_path: Path) -> None:
    one = {"a.weight": torch.randn(8, 8)}
    assert told(tmp_path, one, {"a.weight": torch.randn(8, 8)}) == ("not told", None)


def test_a_packed_side_is_the_coarser_one(tmp_path: Path) -> None:
    weightsmith.convert(MODELS / "hrm-text", tmp_path / "w8", converter="modelslim")
    found = weightsmith.diff(MODELS / "hrm-text", tmp_path / "w8", lineage=True).lineage
    assert found is not None
    assert (found.relation, found.towards) == ("quantized", "A→B")


def test_nobody_asked_is_nothing_told(tmp_path: Path) -> None:
    a = save(tmp_path / "a", model(0))
    found = weightsmith.diff(a, a)
    assert found.lineage is None
    assert "lineage" not in found.document()
    assert weightsmith.diff(a, a, lineage=True).document()["lineage"]["relation"] == "same"


def test_a_trained_model_is_kin_to_what_it_is_fused_to(tmp_path: Path) -> None:
    weightsmith.convert(LATENT, tmp_path / "fused", converter="ternary")
    found = weightsmith.diff(LATENT, tmp_path / "fused", lineage=True).lineage
    assert found is not None
    assert found.relation in ("quantized", "trained")
    assert found.log10_p is not None
    assert found.log10_p < -30


@given(SEEDS)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_neurons_of_strangers_are_no_kin(seed: int) -> None:
    draw = np.random.default_rng(seed)
    found = kinship([(draw.standard_normal(256), draw.standard_normal(256)) for _ in range(4)])
    assert found is not None
    assert found.paired > -9
    assert found.unpaired > -9


def test_the_tail_of_the_normal_is_continued_without_a_step() -> None:
    assert log10_tail(0.0) == pytest.approx(np.log10(0.5))
    assert log10_tail(1.6448536) == pytest.approx(np.log10(0.05), abs=1e-6)
    assert log10_tail(24.999) == pytest.approx(log10_tail(25.001), abs=0.03)
    assert log10_tail(300.0) < -10_000


def test_kolmogorovs_distribution_has_its_known_values() -> None:
    """K(1.36) = 0.95 and K(0.8276) = 0.5 are in every table."""
    assert np.exp(log_kolmogorov(1.3581)) == pytest.approx(0.95, abs=1e-3)
    assert np.exp(log_kolmogorov(0.82757)) == pytest.approx(0.5, abs=1e-3)
    assert log_kolmogorov(0.05) < -480


def test_fishers_rule_joins_p_values() -> None:
    assert fisher([np.log(0.05)]) == pytest.approx(np.log10(0.05))
    # chi-square of 2 * (ln 10 + ln 10) with 4 degrees of freedom: (1 + s) exp(-s) at s = ln 100.
    assert fisher([np.log(0.1), np.log(0.1)]) == pytest.approx(np.log10((1 + np.log(100)) / 100))
    assert fisher([0.0]) == 0.0


def test_the_distance_of_samples_is_kolmogorovs() -> None:
    assert apart(np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0])) == 0.0
    assert apart(np.array([0.0, 1.0]), np.array([5.0, 6.0])) == 1.0
