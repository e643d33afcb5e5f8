"""Real models in a real vLLM: what runs right passes every check, what runs wrong is caught and says where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from torch import cat

from weightsmith.errors import Usage
from weightsmith.process import child
from weightsmith.verify.engine import engine, server
from weightsmith.verify.engine.server_job import Answers, Served
from weightsmith.verify.judge import task_checks
from weightsmith.verify.measure.baseline import load
from weightsmith.verify.tasks import tasks
from weightsmith.verify.tasks.expected import Expected
from weightsmith.verify.tasks.task_job import Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.verify.conftest import Verified

from tests.verify.conftest import CHOICES, FACTS, SERVED

pytestmark = pytest.mark.engine

# vLLM's library for processors without AVX-512 lacks the operator that multiplies with int4 weights.
_PROCESSOR = Path("/proc/cpuinfo")
HAS_INT4_KERNEL = _PROCESSOR.is_file() and "avx512f" in _PROCESSOR.read_text(encoding="utf-8")
INT4_KERNEL = pytest.mark.skipif(not HAS_INT4_KERNEL, reason="vLLM's int4 kernel needs AVX-512")


def test_the_converted_ternary_model_passes_every_check(fused: Verified) -> None:
    assert fused.result.verdict == "pass", fused.verdicts
    assert set(fused.verdicts.values()) == {"pass"}
    assert fused.check("known-texts").value == 0


def test_it_answers_all_its_facts_in_both_languages(fused: Verified) -> None:
    answers = {row.prompt: row.outcome.answer for row in fused.result.prompts if row.outcome is not None}
    assert "Paris" in str(answers["The capital of France is"])
    assert "北京" in str(answers["中国的首都是"])
    assert fused.check("facts").value == 1.0


def test_vllm_and_transformers_agree_as_closely_as_bf16_agrees_with_fp32(fused: Verified) -> None:
    pairs = fused.parity.pairs
    assert list(pairs) == ["R-B", "R-D", "B-D"]
    for pair in pairs.values():
        figures = pair.overall
        assert figures.positions > 200
        assert 0 <= figures.kl_mean < 1e-4
        assert figures.top1 == 1.0
        assert figures.top5 > 0.97
        assert figures.pearson > 0.999
        assert pair.nonfinite == 0
        assert figures.perplexity == pytest.approx(figures.perplexity_other, rel=1e-3)
    assert fused.parity.noise is not None
    assert fused.parity.noise.kl_ratio_upper < 2


@pytest.mark.parametrize("control", ["layer-skipped", "wrong-rope-base", "unfused-weights"])
def test_a_reference_made_wrong_on_purpose_fails_the_same_gates(fused: Verified, control: str) -> None:
    kl = fused.parity.controls[control].pair.overall.kl_mean
    assert kl > 0.05
    assert fused.check(f"control.{control}").verdict == "pass"
    assert fused.check(f"control.{control}").value == kl


def test_the_prefix_lm_is_told_from_one_with_another_rope_base(hrm_text: Verified) -> None:
    assert set(hrm_text.parity.controls) == {"causal-prefill", "wrong-rope-base"}
    assert hrm_text.check("control.wrong-rope-base").verdict == "pass"


def test_the_error_is_shared_out_between_bf16_and_the_device(fused: Verified) -> None:
    noise = fused.parity.noise
    assert noise is not None
    assert noise.bf16_share + noise.device_share == pytest.approx(1)
    assert "share that is the device's" in fused.report


def test_repeats_are_equal_to_the_bit_and_company_changes_nothing(fused: Verified) -> None:
    found = {one.name: one for one in fused.result.determinism}
    assert set(found) == {"repeat", "warm", "shuffled", "alone"}
    assert found["repeat"].same_bits == found["repeat"].prompts == 39
    assert all(one.same_tokens == one.prompts for one in found.values())


def test_where_there_are_graphs_a_second_engine_answers_eagerly(
    fused_folder: Path, fused: Verified, verified: Callable[..., Verified], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no graphs on a CPU" in fused.report
    monkeypatch.setattr(engine, "graphs", lambda device, kind, found: None)
    both = verified(fused_folder, reference="none", save_baseline=None, preemption=True)
    found = {one.name: one for one in both.result.determinism}
    assert both.check("determinism.eager").verdict == "pass"
    assert found["eager"].same_bits == found["eager"].prompts == 39
    assert any(text.startswith("engine, eager: loading") for text in both.told)
    # A third one has so small a cache that requests push each other out.
    assert both.check("determinism.preempted").verdict == "pass"
    assert found["preempted"].prompts == 37  # the two prompts past a chunk are too long for it


def test_an_eager_engine_that_fails_leaves_the_graphs_unproven(
    fused_folder: Path, verified: Callable[..., Verified], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "graphs", lambda device, kind, found: None)
    crashed = child.Failure("killed by SIGKILL", "loading")
    monkeypatch.setattr(engine, "run_other", lambda *_: crashed)
    found = verified(fused_folder, reference="none", save_baseline=None)
    check = found.check("determinism.eager")
    assert (check.verdict, check.detail) == (
        "inconclusive",
        "no answers: killed by SIGKILL while loading",
    )


def test_the_engine_is_started_as_the_user_serves_it_on_two_ranks(served: Verified) -> None:
    assert served.result.verdict == "pass", served.check("engine").detail
    settings = served.engine.settings
    assert (settings.tensor_parallel, settings.max_model_len, settings.max_num_seqs) == (2, 384, 8)
    assert settings.attention_backends == ("CPU_ATTN",)  # told by workers that are processes of their own
    assert settings.model_class == "vllm.model_executor.models.llama.LlamaForCausalLM"
    rows = served.result.document()["engine"]
    assert isinstance(rows, dict)
    assert rows["arguments"] == list(SERVED)
    assert rows["added"] == {"max_logprobs": -1}
    assert rows["variables"]["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert "TORCHDYNAMO_DISABLE" not in rows["variables"]
    assert "the arguments leave it eager" in served.report


def test_the_server_answers_over_http_as_the_engine_does(at_server: Verified) -> None:
    served = {name: verdict for name, verdict in at_server.verdicts.items() if name.startswith("served")}
    assert served == {"served": "pass", "served.answers": "pass", "served.stream": "pass"}, at_server.check(
        "served"
    )
    assert "39 of 39 prompts answered over HTTP, ended when told to" in at_server.check("served").detail


def test_the_server_knows_the_facts_by_answer_and_by_likelihood(at_server: Verified) -> None:
    found = {one.run.name: one for one in at_server.result.tasks}
    assert (found["facts"].run.metric, len(found["facts"].run.items)) == ("exact_match,none", 97)
    assert (found["choices"].run.metric, len(found["choices"].run.items)) == ("acc,none", 25)
    for name in found:
        assert at_server.check(f"task.{name}").verdict == "pass", at_server.check(f"task.{name}").detail
    assert "## Task accuracy" in at_server.report


def test_the_server_is_measured_under_load_and_answers_as_before(at_server: Verified) -> None:
    assert (at_server.check("load").verdict, at_server.check("load.answers").verdict) == ("pass", "pass")
    measured = at_server.result.bench
    assert measured is not None
    one, ten = measured.loads
    assert (one.load.concurrency, ten.load.concurrency) == (1, 10)
    assert (one.completed, one.output_tokens, ten.completed, ten.output_tokens) == (2, 16, 20, 160)
    assert 0 < one.ttft.p50 <= one.ttft.p99 <= one.latency.p99
    served = at_server.result.served
    assert served is not None
    assert served.startup.kv_gib == 1.0
    assert served.startup.warm_up_s is not None
    assert "## Under load" in at_server.report


def test_weights_with_two_heads_swapped_fail_the_same_task(
    at_server: Verified, fused_folder: Path, tmp_path: Path, scratch: Path
) -> None:
    """Item by item against the sound run. A layer that does nothing would not do: this model needs two of its four."""
    broken = tmp_path / "broken"
    shutil.copytree(fused_folder, broken)
    weights = load_file(broken / "model.safetensors")
    queries = weights["model.layers.0.self_attn.q_proj.weight"]
    weights["model.layers.0.self_attn.q_proj.weight"] = cat([queries[32:64], queries[:32], queries[64:]])
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    started = at_server.engine.started
    assert started is not None
    words = server.words(broken, None, started.added)
    start = server.Start(words, scratch / "b", engine.of_a_server(started.variables, scratch), 600.0)
    with server.started(start) as running:
        assert isinstance(running, server.Running), running
        asked = Asked(running.client.port, running.client.served_as)
        runs = tasks.run((str(FACTS),), asked, tmp_path / "tasks", lambda *_: None)
        assert isinstance(runs, tuple), runs
        served = Served(running.words, running.loading, Answers({}, {}, ""), running.stop(), tasks=runs)
    before = {one.run.name: one.run for one in at_server.result.tasks}
    expected = Expected(runs=before, source="the sound run")
    (check,) = task_checks.task_checks(served, task_checks.results(served, expected))
    assert check.verdict == "fail", check.detail
    assert "item by item" in check.detail
    shutil.rmtree(start.folder)


def test_likelihoods_are_not_asked_of_a_prefix_lm(harness: None, tmp_path: Path) -> None:
    with pytest.raises(Usage, match="each token sees the ones that it is to foretell"):
        tasks.look((str(CHOICES),), tmp_path / "look", prefix_lm=True, tell=lambda *_: None)


def test_a_long_answer_is_the_same_decoded_and_prefilled(fused: Verified, hrm_text: Verified) -> None:
    assert fused.check("long").verdict == "pass"
    assert "an answer of 100 tokens" in fused.check("long").detail
    assert "cannot be prefilled" in hrm_text.result.not_run["long answer"]


def test_the_long_prompts_hit_the_warm_prefix_cache(fused: Verified) -> None:
    assert (fused.engine.settings.prefix_cache_hits or 0) >= 1024
    assert fused.engine.settings.prefix_caching is True


def test_effective_settings_are_read_back_from_the_engine(fused: Verified) -> None:
    settings = fused.engine.settings
    assert settings.dtype == "bfloat16"
    assert settings.device_type == "cpu"
    assert settings.attention_backends == ("CPU_ATTN",)
    assert settings.preemptions == 0
    assert settings.max_model_len is not None
    assert settings.max_model_len % 128 == 0
    assert settings.architecture == "LlamaForCausalLM"
    assert {"torch", "transformers"} <= settings.versions.keys()


def test_the_prefix_lm_passes_with_its_condition_tokens_and_settings(hrm_text: Verified) -> None:
    assert hrm_text.result.verdict == "pass", hrm_text.verdicts
    assert hrm_text.verdicts["normalised"] == "pass"
    settings = hrm_text.engine.settings
    assert hrm_text.engine.condition_tokens is True
    assert settings.prefix_caching is False
    assert settings.chunked_prefill is False
    assert settings.max_num_batched_tokens >= settings.max_model_len  # type: ignore[operator]
    assert "warm" not in {one.name for one in hrm_text.result.determinism}


def test_a_causal_reference_of_the_prefix_lm_disagrees(hrm_text: Verified) -> None:
    right, wrong = hrm_text.parity.pairs["R-D"], hrm_text.parity.controls["causal-prefill"].pair
    assert wrong.overall.kl_mean > 0.05 > 1e-4 > right.overall.kl_mean
    assert max(flip.margin for flip in wrong.flips) > 1 > wrong.overall.top1
    assert hrm_text.check("control.causal-prefill").verdict == "pass"


def test_perplexity_is_not_claimed_for_a_prefix_lm(hrm_text: Verified) -> None:
    assert hrm_text.parity.pairs["R-D"].overall.perplexity is None


def test_an_engine_that_masks_otherwise_than_the_config_says_is_caught(causal_hrm: Verified) -> None:
    assert causal_hrm.result.verdict == "fail"
    assert causal_hrm.verdicts["parity.kl_mean"] == "fail"
    assert causal_hrm.verdicts["parity.noise"] == "fail"
    assert causal_hrm.verdicts["engine"] == "pass"
    assert causal_hrm.engine.condition_tokens is False


def test_latent_weights_are_caught_by_values_facts_and_baseline(latent: Verified) -> None:
    assert latent.result.verdict == "fail"
    assert latent.verdicts["config"] == "pass"
    assert latent.check("weights").value == "latent"
    assert "--converter ternary" in latent.check("weights").detail
    assert latent.verdicts["facts"] == "inconclusive"
    assert latent.verdicts["baseline.kl_mean"] == "fail"
    assert "other bytes" in latent.check("baseline").detail


@INT4_KERNEL
def test_weights_packed_without_loss_run_as_the_fused_ones_do(packed: Verified) -> None:
    assert packed.engine.settings.quantization == "compressed-tensors"
    assert packed.result.verdict == "pass", packed.verdicts
    pairs = packed.parity.pairs
    assert pairs["F-D"].overall.kl_mean < pairs["R-B"].overall.kl_mean / 5, "far less than bf16 itself costs"
    assert "other bytes" in packed.check("baseline").detail


@INT4_KERNEL
def test_packed_and_fused_weights_give_the_same_answers(fused: Verified, packed: Verified) -> None:
    ours, theirs = load(fused.baseline), load(packed.baseline)
    assert len(ours.tokens) == 39
    assert ours.tokens == theirs.tokens
    for prompt in range(len(ours.identity.prompts)):  # behind the questions stand prompts that are no text
        one, other = (kept.device_logprobs().logprobs(prompt) for kept in (ours, theirs))
        assert (
            abs(np.exp(one) - np.exp(other)).max() < 0.01
        )  # of what is unlikely a logit of bf16 says little


@pytest.mark.skipif(HAS_INT4_KERNEL, reason="vLLM has an int4 kernel for this processor")
def test_packed_weights_fail_the_engine_where_vllm_has_no_kernel_for_them(packed: Verified) -> None:
    assert packed.verdicts["engine"] == packed.result.verdict == "fail"
    assert "cpu_gemm_wna16" in packed.check("engine").detail


def test_the_baseline_names_what_was_asked_and_by_which_weights(fused: Verified) -> None:
    kept = load(fused.baseline)
    assert (len(kept.identity.prompts), len(kept.tokens)) == (32, 39)  # seven are made to the engine's size
    assert set(kept.identity.weights) == {"model.safetensors"}
    assert set(kept.controls) == {"layer-skipped", "wrong-rope-base", "unfused-weights"}
    assert kept.device_logprobs().logprobs(0).shape == (len(kept.tokens[0]), 264)


def test_the_document_keeps_the_contract(fused: Verified) -> None:
    document = json.loads(json.dumps(fused.result.document(), allow_nan=False))
    assert set(document) == {
        "command",
        "verdict",
        "device",
        "engine",
        "checks",
        "parity",
        "prompts",
        "report",
        "determinism",
        "seconds",
        "own_limits",
        "weightsmith",
        "made",
        "command_line",
        "host",
        "model",
        "performance",
        "needs",
        "foretold",
        "not_run",
        "served",
        "tasks",
        "bench",
        "vectors",
    }
    assert (document["command"], document["verdict"]) == ("verify-on-npu", "pass")
    assert {frozenset(check) for check in document["checks"]} == {
        frozenset({"name", "verdict", "value", "threshold", "detail"})
    }
    assert document["device"]["kind"] == "cpu"


def test_the_report_has_the_field_reports_tables(fused: Verified) -> None:
    for heading in (
        "# fused: verification report",
        "## Checks",
        "## Model",
        "## Environment",
        "## Answers (greedy)",
        "## Determinism",
        "## Performance",
        "## Numeric parity",
        "### Negative controls",
    ):
        assert f"\n{heading}\n" in f"\n{fused.report}"
    for row in ("hidden_size | 128", "KL mean", "top-10 overlap", "Pearson", "TTFT", "tok/s", "peak memory"):
        assert row in fused.report
    checks = fused.report.split("\n## Checks\n")[1].split("\n## ")[0]
    assert checks.count("✅ pass") == len(fused.result.checks)
    assert "weightsmith verify-on-npu M" in fused.report


def test_every_stage_is_told_and_timed(fused: Verified) -> None:
    stages = "\n".join(fused.told)
    for stage in (
        "reading headers",
        "engine: loading the model",
        "engine: answering: alone",
        "reference in bfloat16",
    ):
        assert stage in stages
    assert fused.result.seconds["whole"] > fused.result.seconds["engine whole"] > 0
    assert fused.result.performance is not None
    assert (fused.result.performance.single_tpot_s or 0) > 0
    assert 0 < fused.result.seconds["overhead"] < fused.result.seconds["whole"]
    assert "Overhead" in fused.report


def test_nothing_is_left_in_the_temporary_folder(fused: Verified, scratch: Path) -> None:
    assert fused.result.verdict == "pass"
    assert list(scratch.iterdir()) == []
