"""Samples are the numbers of the plain weights, whatever these are packed in, and no more of the file is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import weightsmith
from tests.values.making import latent_llama, save
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.schemes import plain_view
from weightsmith.values.unseen.attention_names import attention_stacks
from weightsmith.values.unseen.mlp_names import feed_forwards
from weightsmith.values.unseen.sampling import Sampler, evenly, log_norms

SOUND = Path(__file__).resolve().parents[1] / "models" / "hrm-text"


@pytest.mark.parametrize("converter", [None, "modelslim"])
def test_rows_are_those_of_the_plain_weight(tmp_path: Path, converter: str | None) -> None:
    place = SOUND
    if converter:
        place = tmp_path / "packed"
        weightsmith.convert(SOUND, place, converter=converter)
        weightsmith.convert(place, tmp_path / "plain", converter="dequant")
    plain = open_checkpoint(tmp_path / "plain" if converter else SOUND)
    checkpoint = open_checkpoint(place)
    view = plain_view(checkpoint)
    with TensorReader(checkpoint) as reader, TensorReader(plain) as other:
        sampler = Sampler.of(view, reader)
        for one in feed_forwards(view.tensors):
            assert sampler.readable(one.up)
            whole = other.read(plain.tensors[one.up]).astype(np.float32)
            # dequant rounds to bfloat16; a sample is not rounded.
            np.testing.assert_allclose(sampler.rows(one.up, 5, 40), whole[5:40], rtol=2**-8, atol=1e-6)
            np.testing.assert_allclose(
                sampler.some(one.up, [90, 3, 3, 41]), whole[[90, 3, 3, 41]], rtol=2**-8, atol=1e-6
            )
            np.testing.assert_allclose(sampler.whole(one.up), whole, rtol=2**-8, atol=1e-6)


def test_a_sample_is_spread_and_small_matrices_are_whole(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(save(tmp_path, latent_llama()))
    with TensorReader(checkpoint) as reader:
        sampler = Sampler.of(plain_view(checkpoint), reader)
        name = "model.layers.0.mlp.up_proj.weight"
        whole = sampler.whole(name)
        some = sampler.spread(name, 8, 4)
        np.testing.assert_array_equal(some, whole[[0, 1, 170, 171, 340, 341, 510, 511]])
        np.testing.assert_array_equal(sampler.spread(name, 1000, 4), whole)
        assert not sampler.readable("model.layers.9.mlp.up_proj.weight")


def test_norms_count_what_is_not_finite_as_nothing() -> None:
    rows = np.array([[3.0, 4.0], [np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(log_norms(rows, 1), np.log([5.0, 1.0, 1e-12, 1e-12]), rtol=1e-6)
    assert evenly(0) == []
    assert evenly(100, 3) == [0, 49, 99]


def test_attention_is_found_by_its_names_and_what_sounds_like_it_is_not(tmp_path: Path) -> None:
    tensors = open_checkpoint(SOUND).tensors
    (first, second) = attention_stacks(tensors)
    assert {first.stem, second.stem} == {"model.H_module.layers", "model.L_module.layers"}
    assert first.width == 128
    checkpoint = open_checkpoint(
        save(tmp_path, {"x.0.linear_attn.out_proj.weight": latent_llama()["lm_head.weight"]})
    )
    assert attention_stacks(checkpoint.tensors) == []
