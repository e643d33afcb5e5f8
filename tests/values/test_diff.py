"""Two checkpoints are identical, equal in value, or differ by so much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from tests.values.making import latent_llama, save, save_bin
from weightsmith.checkpoint import open_checkpoint
from weightsmith.values.diff import CheckpointDifference, TensorDifference, diff

if TYPE_CHECKING:
    from pathlib import Path

UP = "model.layers.0.mlp.up_proj.weight"


def compare(a: Path, b: Path, workers: int = 1) -> CheckpointDifference:
    return diff(open_checkpoint(a), open_checkpoint(b), workers=workers)


def one(tmp_path: Path, a: torch.Tensor, b: torch.Tensor) -> TensorDifference:
    save(tmp_path / "a", {"x": a})
    save(tmp_path / "b", {"x": b})
    (result,) = compare(tmp_path / "a", tmp_path / "b").tensors
    return result


def test_a_checkpoint_is_identical_to_itself(tmp_path: Path) -> None:
    folder = save(tmp_path, latent_llama())
    result = compare(folder, folder)
    assert result.verdict == "identical"
    assert {t.status for t in result.tensors} == {"identical"}
    assert result.tensors[0].document() == {
        "name": result.tensors[0].name,
        "status": "identical",
        "max_abs": 0.0,
        "max_ulp": 0,
        "mismatched": 0,
        "elements": 16384,
        "cosine": 1.0,
        "relative": 0.0,
    }


def test_another_container_with_the_same_values_is_equal(tmp_path: Path) -> None:
    tensors = latent_llama()
    result = compare(save(tmp_path / "a", tensors), save_bin(tmp_path / "b", tensors))
    assert result.verdict == "equal"
    assert {t.status for t in result.tensors} == {"identical"}


def test_a_wider_dtype_with_the_same_values_is_equal(tmp_path: Path) -> None:
    narrow = latent_llama()
    wide = {name: t.float() for name, t in narrow.items()}
    result = compare(save(tmp_path / "a", narrow), save(tmp_path / "b", wide))
    assert result.verdict == "equal"
    assert result.tensors[0].detail == "dtype BF16 against F32"


def test_a_rounded_copy_differs_by_no_step_of_the_coarser_format(tmp_path: Path) -> None:
    wide = torch.randn(64, 64)
    result = one(tmp_path, wide, wide.bfloat16())
    assert result.status == "differs"
    assert result.max_ulp == 0
    assert result.mismatched is not None
    assert result.mismatched > 4000
    expected = (wide.double() - wide.bfloat16().double()).abs().max().item()
    assert result.max_abs == expected


def test_one_changed_element_is_found_and_measured(tmp_path: Path) -> None:
    tensors = latent_llama()
    changed = {name: t.clone() for name, t in tensors.items()}
    bits = changed[UP].view(torch.int16)
    bits[511, 255] += 3
    result = compare(save(tmp_path / "a", tensors), save(tmp_path / "b", changed), workers=2)
    (found,) = [t for t in result.tensors if t.status != "identical"]
    assert result.verdict == "differs"
    assert (found.name, found.mismatched, found.max_ulp, found.elements) == (UP, 1, 3, 512 * 256)
    expected = (tensors[UP].double() - changed[UP].double()).abs().max().item()
    assert found.max_abs == expected


def test_the_distance_across_zero_counts_both_sides(tmp_path: Path) -> None:
    smallest = torch.tensor([1, -32767], dtype=torch.int16).view(
        torch.bfloat16
    )  # the least numbers of either sign
    result = one(tmp_path, smallest[:1], smallest[1:])
    assert result.max_ulp == 2
    wide = torch.tensor([1e300], dtype=torch.float64)
    assert one(tmp_path, wide, -wide).max_ulp == 2 * int(wide.view(torch.int64)[0])  # beyond a signed integer


def test_zeros_of_either_sign_are_equal_but_not_identical(tmp_path: Path) -> None:
    result = one(tmp_path, torch.zeros(4, 4), -torch.zeros(4, 4))
    assert (result.status, result.mismatched, result.max_ulp) == ("equal", 0, 0)
    assert "16 zeros or NaN have other bits" in result.detail


def test_nan_in_the_same_places_is_no_difference(tmp_path: Path) -> None:
    a = torch.tensor([1.0, float("nan"), 3.0])
    assert one(tmp_path, a, a.clone()).status == "identical"
    b = a.clone()
    b.view(torch.int32)[1] += 1
    assert one(tmp_path, a, b).status == "equal"


def test_nan_against_a_number_has_no_size(tmp_path: Path) -> None:
    result = one(tmp_path, torch.tensor([1.0, 2.0]), torch.tensor([1.0, float("nan")]))
    assert (result.status, result.mismatched, result.max_abs, result.max_ulp) == ("differs", 1, None, None)
    assert result.cosine is None


def test_cosine_is_that_of_the_flattened_tensors(tmp_path: Path) -> None:
    a, b = torch.randn(300, 1000), torch.randn(300, 1000)
    expected = torch.nn.functional.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0).item()
    assert one(tmp_path, a, b).cosine == pytest.approx(expected, abs=1e-12)
    assert one(tmp_path, a, -a).cosine == pytest.approx(-1.0, abs=1e-12)
    assert one(tmp_path, a, torch.zeros_like(a)).cosine is None


def test_another_shape_differs_without_figures(tmp_path: Path) -> None:
    result = one(tmp_path, torch.zeros(4, 6), torch.zeros(6, 4))
    assert (result.status, result.max_abs, result.mismatched) == ("differs", None, None)
    assert result.detail == "shape [4, 6] against [6, 4]"


def test_whole_numbers_are_compared_by_their_bits(tmp_path: Path) -> None:
    a = torch.tensor([2**62, 2**62 + 1])
    result = one(tmp_path, a, a + torch.tensor([0, 1]))
    assert (result.status, result.mismatched, result.max_ulp) == ("differs", 1, None)
    assert one(tmp_path, torch.tensor([1, 2]), torch.tensor([1.0, 2.0])).status == "equal"


def test_names_in_one_only_are_listed(tmp_path: Path) -> None:
    a, b = latent_llama(), latent_llama()
    del a["lm_head.weight"]
    del b["model.norm.weight"]
    result = compare(save(tmp_path / "a", a), save(tmp_path / "b", b))
    assert result.verdict == "differs"
    assert (result.only_in_a, result.only_in_b) == (("model.norm.weight",), ("lm_head.weight",))


def test_a_strided_tensor_is_compared_by_its_elements(tmp_path: Path) -> None:
    weight = torch.randn(64, 32)
    torch.save({"x": weight.t()}, tmp_path / "a.bin")
    save_file({"x": weight.t().contiguous()}, tmp_path / "b.safetensors")
    result = compare(tmp_path / "a.bin", tmp_path / "b.safetensors")
    assert result.tensors[0].status == "identical"
