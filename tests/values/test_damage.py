"""What broke a checkpoint is named with its numbers; what is normal is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.values.making import latent_llama, save, save_bin
from weightsmith.checkpoint import open_checkpoint
from weightsmith.values.value_survey import survey_values

if TYPE_CHECKING:
    from pathlib import Path

UP = "model.layers.0.mlp.up_proj.weight"


def damage(folder: Path, sample: bool = False) -> dict[str, str]:
    return {
        fault.tensor: fault.what for fault in survey_values(open_checkpoint(folder), sample=sample).damage
    }


def test_a_sound_checkpoint_has_none(tmp_path: Path) -> None:
    assert damage(save(tmp_path, latent_llama())) == {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_nan_and_infinity_are_counted(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = latent_llama(dtype=dtype)
    tensors[UP][3, 4] = float("nan")
    tensors[UP][500, 255] = -float("nan")
    tensors["lm_head.weight"][1, 1:4] = float("-inf")
    assert damage(save(tmp_path, tensors)) == {
        UP: "2 NaN among 131072 elements",
        "lm_head.weight": "3 infinite among 16384 elements",
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_flipped_exponent_bit_is_named(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = latent_llama(dtype=dtype)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    tensors[UP].view(bits)[7, 5] ^= 1 << 8 * dtype.itemsize - 2
    tensors["lm_head.weight"][0, 0] = 65_535.0 if dtype is not torch.bfloat16 else 65_280.0
    tensors["model.norm.weight"][0] = 1e6
    assert abs(tensors[UP][7, 5]) > 1e30
    assert damage(save(tmp_path, tensors)) == {UP: "1 absurdly large (65,536 or more) among 131072 elements"}


def test_eight_bit_floats_have_their_own_nan(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.ones(16, 16), "b.weight": torch.ones(16, 16)}
    tensors["a.weight"][0, 0] = tensors["b.weight"][0, 0] = float("nan")
    tensors["a.weight"][0, 1] = tensors["b.weight"][0, 1] = 448.0
    tensors = {
        "a.weight": tensors["a.weight"].to(torch.float8_e4m3fn),
        "b.weight": tensors["b.weight"].to(torch.float8_e5m2),
    }
    assert damage(save(tmp_path, tensors)) == {
        "a.weight": "1 NaN among 256 elements",
        "b.weight": "1 NaN among 256 elements",
    }


def test_dead_matrices_are_named_and_biases_are_not(tmp_path: Path) -> None:
    tensors = latent_llama()
    tensors[UP].zero_()
    tensors["model.layers.1.mlp.up_proj.weight"].fill_(0.5)
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(256).bfloat16()
    tensors["model.z_L_init"] = torch.zeros(256).bfloat16()
    tensors["model.norm.weight"] = torch.zeros(256).bfloat16()
    assert damage(save(tmp_path, tensors)) == {
        UP: "all 131072 elements are zero",
        "model.layers.1.mlp.up_proj.weight": "all 131072 elements are equal",
        "model.norm.weight": "all 256 elements are zero",
    }


def test_tensors_that_zero3_left_empty_are_named(tmp_path: Path) -> None:
    tensors = latent_llama()
    tensors[UP] = torch.empty(0, dtype=torch.bfloat16)
    assert "no elements" in damage(save_bin(tmp_path, tensors))[UP]


def test_a_sample_says_that_it_is_one(tmp_path: Path) -> None:
    weight = torch.full((4096, 1024), float("nan")).bfloat16()
    what = damage(save(tmp_path, {UP: weight}), sample=True)[UP]
    assert "sampled" in what
    assert "4194304" not in what


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    checkpoint = open_checkpoint(save(tmp_path, latent_llama()))
    survey_values(checkpoint, progress=lambda done, total: seen.append((done, total)), workers=2)
    assert seen[-1] == (checkpoint.nbytes, checkpoint.nbytes)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
