"""`match` finds the quantizer that made a published fused checkpoint, and says how exactly it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from tests.values.making import fused_llama, is_fusable, latent_llama, save, torch_fuse
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def eager(group: int, dtype: torch.dtype, added: float | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """The quantizer as people write it in torch, all in one dtype."""

    def quantize(weight: torch.Tensor) -> torch.Tensor:
        groups = weight.to(dtype).reshape(weight.shape[0], -1, weight.shape[1] if group == -1 else group)
        mean = groups.abs().mean(dim=-1, keepdim=True)
        scale = mean.clamp(min=1e-5) if added is None else mean + added
        codes = (groups / scale).round().clamp(-1, 1)
        return (codes * scale).reshape(weight.shape).to(weight.dtype) + 0.0

    return quantize


def published(folder: Path, quantize: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    tensors = latent_llama()
    return save(folder, {n: quantize(t) if is_fusable(n) else t for n, t in tensors.items()})


@pytest.mark.parametrize("group", [64, -1])
@pytest.mark.parametrize(
    ("dtype", "added", "word"),
    [
        (torch.bfloat16, None, "max(mean, 1e-05), BF16"),
        (torch.float32, 1e-5, "mean + 1e-05, F32"),
        (torch.bfloat16, 1e-5, "BF16"),
    ],
)
def test_published_weights_come_out_to_the_bit(
    tmp_path: Path, group: int, dtype: torch.dtype, added: float | None, word: str
) -> None:
    quantize = eager(group, dtype, added)
    reference = published(tmp_path / "fused", quantize)
    source = save(tmp_path / "latent", latent_llama())
    result = convert(source, tmp_path / "out", converter="ternary", options={"match": str(reference)})
    assert result.options["group_size"] == group
    ours, theirs = (load_file(f / "model.safetensors") for f in (tmp_path / "out", reference))
    wrong = sum(int((ours[n] != theirs[n]).sum()) for n in theirs)
    total = sum(t.numel() for n, t in theirs.items() if is_fusable(n))
    assert total
    assert wrong <= total * 2e-4, (wrong, result.notes)
    assert word in str(result.options["quantizer"]), result.notes
    assert any("numbers sampled in 6 tensors" in note for note in result.notes)


def test_the_plain_formula_is_matched_by_the_exact_arithmetic(tmp_path: Path) -> None:
    reference = published(tmp_path / "fused", lambda weight: torch_fuse(weight, 128))
    source = save(tmp_path / "latent", latent_llama())
    result = convert(source, tmp_path / "out", converter="ternary", options={"match": str(reference)})
    ours, theirs = (load_file(f / "model.safetensors") for f in (tmp_path / "out", reference))
    assert theirs
    assert all(torch.equal(ours[n], theirs[n]) for n in theirs), result.notes


def test_a_reference_of_another_model_is_refused(tmp_path: Path) -> None:
    reference = save(tmp_path / "fused", fused_llama(128, seed=5))
    source = save(tmp_path / "latent", latent_llama())
    with pytest.raises(ConversionRefused, match="no quantizer that is known reproduces it"):
        convert(source, tmp_path / "out", converter="ternary", options={"match": str(reference)})


def test_a_reference_that_is_not_fused_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "latent", latent_llama())
    with pytest.raises(ConversionRefused, match="name a fused checkpoint"):
        convert(source, tmp_path / "out", converter="ternary", options={"match": str(source)})
