"""The gates: each check judges itself, nothing passes on too little, and one that spares its control proves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
from weightsmith.errors import WeightsmithError
from weightsmith.verify.checks import Check, combine
from weightsmith.verify.inputs.kinds import CAUSAL, PREFIX_LM, Template
from weightsmith.verify.inputs.prompts import Prompt
from weightsmith.verify.judge import gates, verdicts
from weightsmith.verify.measure import parity
from weightsmith.verify.measure.health import Facts, Sanity, Spread
from weightsmith.verify.measure.repetition import Repetition
from weightsmith.verify.reference.replay_job import Difference, Unpacking

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.checks import Verdict
    from weightsmith.verify.engine.engine import EngineRun

LIMITS = gates.limits()
FULL = {n: random_logprobs(n) for n in range(4)}


def _verdicts(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.name: check.verdict for check in checks}


def _check(verdict: Verdict) -> Check:
    return Check("x", verdict, None, None, "")


def _measured(folder: Path, noise: float, control_noise: float | None = 3.0) -> parity.Parity:
    run = greedy_run(folder / "d", {n: noisy(rows, noise, seed=n + 50) for n, rows in FULL.items()})
    half = {n: noisy(rows, 0.01, seed=n) for n, rows in FULL.items()}
    controls = {}
    if control_noise is not None:
        wrong = {n: noisy(rows, control_noise, seed=n + 9) for n, rows in FULL.items()}
        controls["wrong"] = logprob_file(folder / "c", wrong)
    twin = references(logprob_file(folder / "r", FULL), logprob_file(folder / "b", half), controls)
    return parity.measure(run, twin, with_perplexity=True)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (("pass", "pass"), "pass"),
        (("pass", "inconclusive"), "inconclusive"),
        (("inconclusive", "fail", "pass"), "fail"),
        ((), "inconclusive"),
    ],
)
def test_the_whole_is_as_good_as_its_worst_check(seen: tuple[Any, ...], expected: str) -> None:
    assert combine(map(_check, seen)) == expected


def test_under_half_of_the_facts_is_inconclusive_and_never_pass_or_fail() -> None:
    prompts = [Prompt(str(n), "x") for n in range(10)]
    assert verdicts.facts_check(Facts(10, (0, 1, 2, 3, 4, 5)), prompts, LIMITS).verdict == "inconclusive"
    assert verdicts.facts_check(Facts(10, (0, 1, 2, 3, 4)), prompts, LIMITS).verdict == "pass"
    assert verdicts.facts_check(Facts(0, ()), prompts, LIMITS).verdict == "inconclusive"
    english = verdicts.facts_check(Facts(10, (0, 1, 2, 3, 4, 5), (("LATIN", 4, 8),)), prompts, LIMITS)
    assert (english.verdict, english.value) == ("pass", 0.5)
    assert english.detail.startswith("4 of 10 facts answered; 4 of the 8 in Latin letters; missed")


def test_a_device_like_bf16_passes_every_parity_check(tmp_path: Path) -> None:
    checks = verdicts.all_parity_checks(_measured(tmp_path, 0.01), LIMITS)
    assert set(_verdicts(checks).values()) == {"pass"}


def test_a_device_far_from_bf16_fails_each_parity_check_by_itself(tmp_path: Path) -> None:
    found = _verdicts(verdicts.all_parity_checks(_measured(tmp_path, 3.0), LIMITS))
    failed = {name for name, verdict in found.items() if verdict == "fail"}
    assert failed == {"parity.kl_mean", "parity.kl_prompt", "parity.kl_max", "parity.tokens", "parity.noise"}


def test_a_fault_in_one_prompt_does_not_drown_in_the_mean(tmp_path: Path) -> None:
    many = {n: random_logprobs(n) for n in range(32)}
    device = {n: noisy(rows, 2.0 if n == 24 else 0.001, seed=n) for n, rows in many.items()}
    twin = references(half=logprob_file(tmp_path / "b", many))
    pair = parity.measure(greedy_run(tmp_path / "d", device), twin, with_perplexity=True).pairs["B-D"]
    found = _verdicts(verdicts.parity_checks(pair, LIMITS))
    assert found["parity.kl_mean"] == "pass"
    assert found["parity.kl_prompt"] == "fail"


def test_a_control_that_passes_the_gates_makes_the_verdict_inconclusive(tmp_path: Path) -> None:
    blind = verdicts.all_parity_checks(_measured(tmp_path, 0.001, control_noise=0.002), LIMITS)
    assert _verdicts(blind)["control.wrong"] == "inconclusive"
    assert combine(blind) == "inconclusive"


def test_without_a_control_or_a_noise_floor_nothing_passes(tmp_path: Path) -> None:
    assert combine(verdicts.all_parity_checks(_measured(tmp_path, 0.001, None), LIMITS)) == "inconclusive"
    device = greedy_run(tmp_path / "d2", FULL)
    only_full = parity.measure(device, references(logprob_file(tmp_path / "r2", FULL)), with_perplexity=True)
    assert _verdicts(verdicts.all_parity_checks(only_full, LIMITS))["parity.noise"] == "inconclusive"
    check = verdicts.no_parity("nobody asked")
    assert check.verdict == "inconclusive"
    assert "--reference FILE" in check.detail


def test_flat_logits_fail_unless_a_baseline_is_as_flat() -> None:
    flat = Spread(100, 0.9, 0.05, 0, 1e-6)
    alone, as_flat, sharper = (
        {check.name: check for check in verdicts.spread_checks(flat, LIMITS, kept)}["distribution"]
        for kept in (None, Spread(100, 0.89, 0.05, 0, 1e-6), Spread(100, 0.5, 0.4, 0, 1e-6))
    )
    assert (alone.verdict, as_flat.verdict, sharper.verdict) == ("fail", "pass", "fail")
    assert "without a baseline" in alone.detail
    assert "0.890, as flat" in as_flat.detail
    assert "0.500, less flat" in sharper.detail


def _against_a_baseline(folder: Path, noise: float) -> parity.Parity:
    """A device whose logits err by `noise`, against a baseline and references that err as bf16 does (0.01)."""
    folder.mkdir()

    def erring(scale: float, seed: int) -> dict[int, Any]:
        return {n: noisy(rows, scale, seed=seed + n) for n, rows in FULL.items()}

    twin = references(logprob_file(folder / "r", FULL), logprob_file(folder / "b", erring(0.01, 0)))
    baseline = logprob_file(folder / "f", erring(0.01, 30))
    return parity.measure(greedy_run(folder / "d", erring(noise, 50)), twin, True, baseline)


def test_what_stays_below_every_ceiling_is_still_not_the_baselines_model(tmp_path: Path) -> None:
    sound = verdicts.all_parity_checks(_against_a_baseline(tmp_path / "sound", 0.01), LIMITS)
    assert _verdicts(sound)["baseline.noise"] == "pass"
    # Rounding to three bits of mantissa in place of seven errs sixteen times as much.
    found = _verdicts(verdicts.all_parity_checks(_against_a_baseline(tmp_path / "fp8", 0.08), LIMITS))
    assert found["baseline.kl_mean"] == found["baseline.kl_max"] == "pass"
    assert found["baseline.noise"] == "fail"


def test_a_baseline_that_is_met_to_the_bit_passes(tmp_path: Path) -> None:
    measured = _against_a_baseline(tmp_path / "same", 0.01)
    nothing = replace(measured.pairs["F-D"], overall=replace(measured.pairs["F-D"].overall, kl_mean=0.0))
    assert measured.baseline_noise is not None
    assert verdicts.baseline_noise_check(measured.baseline_noise, nothing, LIMITS).verdict == "pass"


def test_noise_that_is_all_rounding_is_not_divided_by_itself(tmp_path: Path) -> None:
    device = greedy_run(tmp_path / "d", {n: noisy(rows, 0.005, seed=n + 50) for n, rows in FULL.items()})
    half = logprob_file(tmp_path / "b", {n: noisy(rows, 0.0005, seed=n) for n, rows in FULL.items()})
    twin = references(logprob_file(tmp_path / "r", FULL), half)
    found = parity.measure(device, twin, with_perplexity=True)
    assert found.noise is not None
    check = verdicts.noise_check(found.noise, found.pairs["R-D"], LIMITS)
    assert check.verdict == "pass"
    assert isinstance(check.value, float)
    assert check.value > 2


def test_nan_fails_parity_whatever_the_rest_says(tmp_path: Path) -> None:
    rows = FULL[0].copy()
    rows[0, 0] = np.nan
    run = engine_run(logprob_file(tmp_path / "d", {0: rows}), {0: [0] * len(rows)})
    pair = parity.measure(
        run, references(half=logprob_file(tmp_path / "b", FULL)), with_perplexity=True
    ).pairs["B-D"]
    assert _verdicts(verdicts.parity_checks(pair, LIMITS)) == {"parity.finite": "fail"}


def _run(tmp_path: Path, **settings: Any) -> EngineRun:
    return engine_run(logprob_file(tmp_path / "d", FULL), {0: [1]}, **settings)


def test_a_model_that_overflows_in_fp16_is_told_so(tmp_path: Path) -> None:
    half = {n: noisy(rows, 0.01, seed=n) for n, rows in FULL.items()}
    half[1] = half[1].copy()
    half[1][3] = np.nan
    twin = references(logprob_file(tmp_path / "r", FULL), logprob_file(tmp_path / "b", half))
    found = parity.measure(greedy_run(tmp_path / "d", FULL), twin, with_perplexity=False)
    (check,) = verdicts.overflow_checks(found)
    assert (check.verdict, check.value) == ("fail", 1)
    assert "serve it in bfloat16" in check.detail
    (sound := tmp_path / "sound").mkdir()
    assert verdicts.overflow_checks(_measured(sound, 0.01)) == ()


def test_settings_that_a_prefix_lm_cannot_bear_fail_and_are_named(tmp_path: Path) -> None:
    assert verdicts.settings_check(PREFIX_LM, "cpu", _run(tmp_path)).verdict == "pass"
    for row in ("chunked_prefill", "prefix_caching"):
        found = verdicts.settings_check(PREFIX_LM, "cpu", _run(tmp_path, **{row: True}))
        assert found.verdict == "fail"
        assert row.replace("_", " ") in found.detail
        assert verdicts.settings_check(CAUSAL, "cpu", _run(tmp_path, **{row: True})).verdict == "pass"
    assert verdicts.settings_check(PREFIX_LM, "cpu", _run(tmp_path, preemptions=2)).verdict == "fail"


def test_a_prefix_lm_without_its_condition_tokens_proves_nothing(tmp_path: Path) -> None:
    bare = replace(_run(tmp_path), wrapped=False)
    found = verdicts.settings_check(PREFIX_LM, "cpu", bare)
    assert found.verdict == "inconclusive"
    assert "<|quad_end|>" in found.detail
    assert verdicts.settings_check(CAUSAL, "cpu", bare).verdict == "pass"


def test_a_prefix_lm_that_never_had_condition_tokens_is_asked_without_them(tmp_path: Path) -> None:
    never = replace(PREFIX_LM, template=Template())
    found = verdicts.settings_check(never, "cpu", replace(_run(tmp_path), wrapped=False))
    assert found.verdict == "pass"
    assert "without condition tokens, as asked" in found.detail


def test_an_engine_on_another_device_or_in_another_dtype_fails(tmp_path: Path) -> None:
    assert verdicts.settings_check(CAUSAL, "npu", _run(tmp_path)).verdict == "fail"
    assert verdicts.settings_check(CAUSAL, "cpu", _run(tmp_path, dtype="float16")).verdict == "fail"


def test_a_cpu_whose_int8_sums_saturate_fails_with_the_way_out(tmp_path: Path) -> None:
    found = verdicts.settings_check(CAUSAL, "cpu", _run(tmp_path, int8_error=0.2))
    assert found.verdict == "fail"
    assert "20.0%" in found.detail and "VNNI" in found.detail and "--converter dequant" in found.detail
    assert verdicts.settings_check(CAUSAL, "cpu", _run(tmp_path, int8_error=1e-7)).verdict == "pass"


def _repetition(name: str, **facts: Any) -> Repetition:
    base = {"prompts": 4, "same_tokens": 4, "same_bits": 4, "delta_max": 0.0, "parted": {}, "lead_max": 0.0}
    return Repetition(name=name, **{**base, **facts})


def test_the_same_batch_twice_may_not_differ_at_all() -> None:
    assert verdicts.repetition_check(_repetition("repeat"), LIMITS).verdict == "pass"
    parted = _repetition("repeat", same_tokens=3, parted={2: 5}, lead_max=0.01)
    assert verdicts.repetition_check(parted, LIMITS).verdict == "fail"
    assert verdicts.repetition_check(_repetition("repeat", delta_max=0.001), LIMITS).verdict == "fail"


def test_other_company_may_part_only_where_two_tokens_nearly_tie() -> None:
    tied = _repetition("alone", same_tokens=3, parted={2: 5}, lead_max=0.1, delta_max=0.01)
    assert verdicts.repetition_check(tied, LIMITS).verdict == "pass"
    clear = _repetition("alone", same_tokens=3, parted={2: 5}, lead_max=2.0)
    assert verdicts.repetition_check(clear, LIMITS).verdict == "fail"
    assert verdicts.repetition_check(_repetition("alone", prompts=0), LIMITS).verdict == "inconclusive"


def test_flat_unnormalised_or_broken_distributions_fail_each_by_name() -> None:
    sound = Spread(100, 0.2, 0.8, 0, 1e-6)
    assert set(_verdicts(verdicts.spread_checks(sound, LIMITS)).values()) == {"pass"}
    assert (
        _verdicts(verdicts.spread_checks(Spread(100, 0.99, 0.01, 0, 1e-6), LIMITS))["distribution"] == "fail"
    )
    assert _verdicts(verdicts.spread_checks(Spread(100, 0.2, 0.8, 0, 0.3), LIMITS))["normalised"] == "fail"
    assert _verdicts(verdicts.spread_checks(Spread(100, 0.2, 0.8, 7, 1e-6), LIMITS))["finite"] == "fail"
    assert _verdicts(verdicts.spread_checks(Spread(0, 1.0, 0.0, 7, None), LIMITS)) == {"finite": "fail"}


def test_loops_garbage_and_one_answer_to_everything_fail() -> None:
    assert set(_verdicts(verdicts.text_checks(Sanity(10, 0.1, 0.1, 0.2, 0.0), LIMITS)).values()) == {"pass"}
    bad = _verdicts(verdicts.text_checks(Sanity(10, 0.9, 0.9, 0.9, 0.0), LIMITS))
    assert bad == {"repetition": "fail", "readable": "fail", "distinct": "fail"}
    assert "distinct" not in _verdicts(verdicts.text_checks(Sanity(1, 0.0, 0.0, 1.0, 0.0), LIMITS))


def test_a_gate_can_be_overridden_by_name_and_only_by_a_name_that_exists() -> None:
    assert gates.limits({"kl_mean": 0.5})["kl_mean"] == 0.5
    with pytest.raises(WeightsmithError, match="no gate kl_meen"):
        gates.limits({"kl_meen": 0.5})


def test_every_gate_states_its_reason_once() -> None:
    assert len({gate.name for gate in gates.GATES}) == len(gates.GATES)
    assert all(len(gate.reason) > 20 for gate in gates.GATES)


def test_weights_that_two_codes_unpack_alike_are_no_question() -> None:
    found = Unpacking(
        "28 weights are packed as fp8, 8 bits", compared=30, kept=2, rounded="of 28 weights to int8"
    )
    check = verdicts.weights_check(found, ())
    assert (check.name, check.verdict, check.value) == ("reference.weights", "pass", 0)
    assert "gives the same in 30 parameters; transformers leaves 2 packed" in check.detail
    assert "of 28 weights to int8 by design: bf16's reference (B) does so, too" in check.detail


def test_where_two_codes_differ_the_engine_is_the_third() -> None:
    wrong = Difference("model.layers.1.mlp.down_proj.weight", 0.25, 0.5, 1.0)
    found = Unpacking("28 weights are packed as fp8, 8 bits", compared=30, differ=1, differing=(wrong,))
    sound, failed = (Check(f"parity.{v}", v, None, None, "") for v in ("pass", "fail"))
    sided = verdicts.weights_check(found, (sound, replace(failed, name="control.x")))
    assert sided.verdict == "pass"
    assert sided.detail.endswith("the engine sides with the codes")
    for parity_checks in ((), (sound, failed)):
        doubted = verdicts.weights_check(found, parity_checks)
        assert (doubted.verdict, doubted.value) == ("inconclusive", 1)
        assert (
            "differs in 1 of 30 parameters, first in model.layers.1.mlp.down_proj.weight (25.0"
            in doubted.detail
        )


def test_weights_that_nobody_else_unpacks_are_said_to_be_so() -> None:
    silent = verdicts.weights_check(
        Unpacking("2 weights are packed as mlx, 4 bits", silent="no quantizer"), ()
    )
    assert silent.verdict == "pass"
    assert silent.detail.endswith("nobody else has unpacked them here: no quantizer")
    alone = verdicts.weights_check(Unpacking("", by_transformers="w is I32"), ())
    assert alone.detail == "the reference has transformers' own unpacking alone: w is I32"
