"""Three runs against each other: figures add up, flips are found, the noise floor divides, top-k still compares."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.verify.handmade import (
    engine_run,
    greedy_run,
    logprob_file,
    noisy,
    random_logprobs,
    references,
)
from weightsmith.verify.measure import parity

if TYPE_CHECKING:
    from pathlib import Path

FULL = {n: random_logprobs(n) for n in range(6)}


def _measured(
    folder: Path, device_noise: float, bf16_noise: float = 0.01, with_control: bool = False
) -> parity.Parity:
    run = greedy_run(folder / "d", {n: noisy(rows, device_noise, seed=n + 50) for n, rows in FULL.items()})
    full = logprob_file(folder / "r", FULL)
    half = logprob_file(folder / "b", {n: noisy(rows, bf16_noise, seed=n) for n, rows in FULL.items()})
    wrong = {n: random_logprobs(n + 99) for n in FULL}
    controls = {"wrong": logprob_file(folder / "c", wrong)} if with_control else {}
    return parity.measure(run, references(full, half, controls), with_perplexity=True)


def test_a_device_as_noisy_as_bf16_has_a_ratio_near_one(tmp_path: Path) -> None:
    found = _measured(tmp_path, device_noise=0.01)
    assert found.noise is not None
    assert found.noise.kl_ratio == pytest.approx(1.0, abs=0.4)
    assert found.noise.kl_ratio <= found.noise.kl_ratio_upper < 2


def test_a_device_ten_times_as_noisy_has_a_hundred_times_the_divergence(tmp_path: Path) -> None:
    found = _measured(tmp_path, device_noise=0.1)
    assert found.noise is not None
    assert found.noise.kl_ratio == pytest.approx(100, rel=0.4)
    assert found.noise.rms_ratio == pytest.approx(10, rel=0.4)


@pytest.mark.parametrize(("device", "bf16"), [(0.01, 1.0), (0.005, 1.0), (0.02, 0.25), (0.1, 0.01)])
def test_the_device_answers_for_what_bf16_alone_would_not_cost(
    tmp_path: Path, device: float, bf16: float
) -> None:
    found = _measured(tmp_path, device_noise=device).noise
    assert found is not None
    assert found.bf16_share == pytest.approx(bf16, rel=0.4)
    assert found.bf16_share + found.device_share == 1


def test_a_flip_names_both_tokens(tmp_path: Path) -> None:
    rows = FULL[0].copy()
    best, second = np.argsort(rows[5])[[-1, -2]]
    rows[5, [best, second]] = rows[5, [second, best]]
    run = greedy_run(tmp_path / "d", {0: rows})
    full = logprob_file(tmp_path / "r", FULL)
    (flip,) = parity.measure(run, references(full), with_perplexity=True).pairs["R-D"].flips
    assert (flip.prompt, flip.position, flip.wanted, flip.got) == (0, 5, best, second)
    assert flip.margin == pytest.approx(float(FULL[0][5, best] - FULL[0][5, second]), rel=1e-5)


def test_all_three_pairs_are_formed_and_cover_every_position(tmp_path: Path) -> None:
    found = _measured(tmp_path, device_noise=0.01)
    assert list(found.pairs) == ["R-B", "R-D", "B-D"]
    for pair in found.pairs.values():
        assert pair.overall.positions == 6 * 12
        assert sum(figures.positions for figures in pair.prompts.values()) == 6 * 12
    weighted = np.mean([figures.kl_mean for figures in found.pairs["R-D"].prompts.values()])
    assert found.pairs["R-D"].overall.kl_mean == pytest.approx(weighted)


def test_a_flip_is_told_with_its_place_and_margin(tmp_path: Path) -> None:
    device = {0: FULL[0].copy()}
    favourite, second = np.argsort(-device[0][7])[:2]
    margin = float(device[0][7, favourite] - device[0][7, second])
    device[0][7, [favourite, second]] = device[0][7, [second, favourite]]
    run = greedy_run(tmp_path / "d", device)
    found = parity.measure(run, references(logprob_file(tmp_path / "r", FULL)), with_perplexity=True)
    (flip,) = found.pairs["R-D"].flips
    assert (flip.prompt, flip.position) == (0, 7)
    assert flip.margin == pytest.approx(margin)
    assert found.pairs["R-D"].overall.top1 == pytest.approx(11 / 12)


def test_the_worst_prompt_is_named(tmp_path: Path) -> None:
    device = {n: noisy(rows, 1.0 if n == 4 else 0.001) for n, rows in FULL.items()}
    run = greedy_run(tmp_path / "d", device)
    found = parity.measure(run, references(logprob_file(tmp_path / "r", FULL)), with_perplexity=False)
    assert found.pairs["R-D"].worst_prompt[0] == 4
    assert found.pairs["R-D"].overall.perplexity is None


def test_controls_are_compared_like_references_and_kept_apart(tmp_path: Path) -> None:
    found = _measured(tmp_path, device_noise=0.01, with_control=True)
    assert set(found.pairs) == {"R-B", "R-D", "B-D"}
    assert found.controls["wrong"].pair.overall.kl_mean > 1
    assert found.controls["wrong"].noise is not None
    assert found.controls["wrong"].noise.kl_ratio > 1000


def test_top_k_alone_is_compared_in_buckets_and_called_partial(tmp_path: Path) -> None:
    device = {n: noisy(rows, 0.05) for n, rows in FULL.items()}
    ids = {n: np.argsort(-rows, axis=1)[:, :20].astype(np.int32) for n, rows in device.items()}
    top = {n: np.take_along_axis(rows, ids[n], axis=1) for n, rows in device.items()}
    tokens = {n: [int(row[0]) for row in columns] for n, columns in ids.items()}
    run = engine_run(logprob_file(tmp_path / "d", top, ids), tokens)
    full = references(logprob_file(tmp_path / "r", FULL))
    partial = parity.measure(run, full, with_perplexity=True)
    whole = parity.measure(greedy_run(tmp_path / "w", device), full, with_perplexity=True)
    assert partial.partial
    assert 0 < partial.pairs["R-D"].overall.kl_mean <= whole.pairs["R-D"].overall.kl_mean
    assert partial.pairs["R-D"].overall.delta_rms == pytest.approx(
        whole.pairs["R-D"].overall.delta_rms, rel=1e-4
    )


def test_positions_can_be_cut_where_a_baseline_went_another_way(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "d", FULL)
    full = references(logprob_file(tmp_path / "r", FULL))
    found = parity.measure(run, full, with_perplexity=True, positions={0: 3, 2: 5})
    assert {n: figures.positions for n, figures in found.pairs["R-D"].prompts.items()} == {0: 3, 2: 5}


def test_nan_from_the_device_is_counted_and_not_hidden(tmp_path: Path) -> None:
    device = {0: FULL[0].copy()}
    device[0][3, 10] = np.nan
    run = engine_run(logprob_file(tmp_path / "d", device), {0: [0] * 12})
    found = parity.measure(run, references(logprob_file(tmp_path / "r", FULL)), with_perplexity=True)
    assert found.pairs["R-D"].nonfinite == 1


def test_prompts_that_are_no_text_are_compared_and_set_no_bound_on_noise(tmp_path: Path) -> None:
    last = max(FULL)
    device = {n: noisy(rows, 1.0 if n == last else 0.01, seed=n + 50) for n, rows in FULL.items()}
    half = {n: noisy(rows, 0.01, seed=n) for n, rows in FULL.items()}
    twin = references(logprob_file(tmp_path / "r", FULL), logprob_file(tmp_path / "b", half))
    run = greedy_run(tmp_path / "d", device)
    sized = parity.measure(replace(run, sized={last: "past a chunk of 512"}), twin, with_perplexity=False)
    assert sized.noise is not None
    assert sized.noise.kl_ratio < 2
    assert sized.pairs["R-D"].worst_prompt[0] == last  # the ceilings judge it
    plain = parity.measure(run, twin, with_perplexity=False)
    assert plain.noise is not None
    assert plain.noise.kl_ratio > 100
