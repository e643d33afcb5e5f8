"""Models that make vectors: what they are by their files, and which wrong vectors are caught."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.report.printed import need_schema
from tests.verify.handmade import SETTINGS
from tests.verify.tiny_models import sentences
from weightsmith.errors import HostileCheckpoint, InvalidConfig, Usage
from weightsmith.report import render
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.engine.engine import Started
from weightsmith.verify.engine.engine_job import EngineSeconds
from weightsmith.verify.engine.pooled import PooledRun, asks
from weightsmith.verify.engine.pooled_job import PooledAnswer, Tokens
from weightsmith.verify.inputs.pooling import Pooling, pooling_of
from weightsmith.verify.judge import gates, pooled
from weightsmith.verify.measure import vectors
from weightsmith.verify.options import Options
from weightsmith.verify.pooled import need_possible
from weightsmith.verify.reference.pooled_job import variations
from weightsmith.verify.result import Check, ModelFacts, VectorFacts, VectorRow, VerifyResult

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.measure.vectors import Vectors

LIMITS = gates.limits()
RANDOM = np.random.default_rng(0)
EMBED = Pooling("embed", "LAST", normalised=True)


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
def test_modules_json_says_how_a_vector_is_made(tmp_path: Path, pooling: str) -> None:
    sentences(tmp_path, pooling, normalise=pooling != "cls")
    found = pooling_of(tmp_path, {"architectures": ["Qwen3ForCausalLM"]}, None)
    kept = {"cls": "CLS", "mean": "MEAN", "lasttoken": "LAST"}
    assert found == Pooling("embed", kept[pooling], pooling != "cls")  # type: ignore[arg-type]


def test_the_new_words_of_sentence_transformers_mean_the_same(tmp_path: Path) -> None:
    sentences(tmp_path, "mean")
    rows = json.loads((tmp_path / "modules.json").read_text())
    for row, kind in zip(
        rows, ("transformer.Transformer", "pooling.Pooling", "normalize.Normalize"), strict=True
    ):
        row["type"] = f"sentence_transformers.base.modules.{kind}"
    (tmp_path / "modules.json").write_text(json.dumps(rows))
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": true}')
    assert pooling_of(tmp_path, {}, None) == Pooling("embed", "CLS", True, lower=True, longest=64)


def test_what_no_reference_computes_is_said(tmp_path: Path) -> None:
    sentences(tmp_path, "max")
    assert "none of CLS, last token and mean" in _found(tmp_path).unknown
    rows = json.loads((tmp_path / "modules.json").read_text())
    rows.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(rows))
    assert _found(tmp_path).unknown == "modules.json has Dense, which no reference here computes"


def _found(folder: Path) -> Pooling:
    found = pooling_of(folder, {}, None)
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["{}", "[1]", "[", "", '[{"a": 1, "a": 2}]', "[" * 100_000])
def test_a_list_of_modules_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(InvalidConfig):
        pooling_of(tmp_path, {}, None)


@pytest.mark.parametrize("path", ["../outside", "/etc", "link"])
def test_a_module_outside_of_the_checkpoint_is_not_read(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text('{"pooling_mode": "cls"}')
    (model := tmp_path / "model").mkdir()
    (model / "link").symlink_to(tmp_path / "outside")
    (model / "modules.json").write_text(json.dumps([{"type": "x.Pooling", "path": path}]))
    with pytest.raises(HostileCheckpoint, match="does not lie in the checkpoint"):
        pooling_of(model, {}, None)


@pytest.mark.parametrize(
    ("config", "arguments", "task", "activation"),
    [
        ({"architectures": ["BertModel"]}, None, "embed", None),
        ({"architectures": ["Qwen3ForCausalLM"]}, ("--runner", "pooling"), "embed", None),
        ({"architectures": ["Qwen3ForCausalLM"]}, ("--runner=pooling",), "embed", None),
        ({"architectures": ["Qwen3ForCausalLM"]}, ("--convert", "classify"), "classify", "softmax"),
        ({"architectures": ["XForSequenceClassification"], "id2label": {"0": "a"}}, None, "score", "sigmoid"),
        (
            {"architectures": ["XForSequenceClassification"], "id2label": {"0": "a", "1": "b"}},
            None,
            "classify",
            "softmax",
        ),
        (
            {"architectures": ["XForSequenceClassification"], "problem_type": "multi_label_classification"},
            None,
            "classify",
            "sigmoid",
        ),
        (
            {
                "architectures": ["XForSequenceClassification"],
                "id2label": {"0": "a"},
                "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
            },
            None,
            "score",
            "none",
        ),
    ],
)
def test_the_task_follows_from_the_config_and_the_arguments(
    tmp_path: Path, config: Any, arguments: tuple[str, ...] | None, task: str, activation: str | None
) -> None:
    found = pooling_of(tmp_path, config, arguments)
    assert found is not None
    assert (found.task, found.activation) == (task, activation)


def test_a_model_that_writes_text_is_none(tmp_path: Path) -> None:
    for name in (
        "LlamaForCausalLM",
        "GPT2LMHeadModel",
        "ChatGLMModel",
        "InternVLChatModel",
        "QWenLMHeadModel",
    ):
        assert pooling_of(tmp_path, {"architectures": [name]}, None) is None
    assert pooling_of(tmp_path, {"architectures": ["UltravoxModel"], "audio_config": {}}, None) is None
    assert pooling_of(tmp_path, {}, None) is None
    sentences(tmp_path, "mean")
    assert pooling_of(tmp_path, {}, ("--runner", "generate")) is None


def test_what_is_asked_of_text_only_is_refused_before_anything_runs(tmp_path: Path) -> None:
    need_possible(Options())
    need_possible(Options(reference="none"))
    for asked in (Options(save_baseline=tmp_path / "b"), Options(reference=str(tmp_path / "b"))):
        with pytest.raises(Usage, match="keeps log-probabilities"):
            need_possible(asked)
    for asked in (Options(tasks=("gsm8k",)), Options(bench=((12, 128),))):
        with pytest.raises(Usage, match="ask a server for text"):
            need_possible(asked)


def test_a_reranker_is_asked_of_two_texts_how_well_each_text_fits() -> None:
    pairs = asks(Pooling("score"), ["a", "b", "c", "d"])
    assert pairs == (("a", "a"), ("c", "b"), ("a", "c"), ("c", "d"))
    assert asks(EMBED, ["a", "b"]) == (("a",), ("b",))


def test_every_wrong_reference_differs_in_one_thing() -> None:
    found = variations(EMBED, "float16", ("float32", "float16"), rope=True, types=False)
    assert [(one.model.name, one.model.dtype) for one in found] == [
        ("reference", "float32"),
        ("layer-skipped", "float32"),
        ("wrong-rope-base", "float32"),
        ("wrong-pooling", "float32"),
        ("not-normalised", "float32"),
        ("reference", "float16"),
    ]
    wrong = {one.model.name: one.how for one in found}
    assert wrong["wrong-pooling"] == replace(EMBED, pooling="MEAN")
    assert wrong["not-normalised"] == replace(EMBED, normalised=False)
    names = [
        one.model.name
        for one in variations(Pooling("score"), "bfloat16", ("float32",), rope=False, types=True)
    ]
    assert names == ["reference", "layer-skipped", "token-types-dropped"]


def _unit(rows: np.ndarray[Any, Any]) -> Vectors:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return {n: row.astype(np.float32) for n, row in enumerate(rows / lengths)}


TRUE = RANDOM.normal(size=(24, 32))
R = _unit(TRUE)
B = _unit(TRUE + RANDOM.normal(scale=0.01, size=TRUE.shape))


def _verdicts(device: Vectors) -> dict[str, str]:
    found = [*pooled.parity_checks(vectors.compare(B, device, logits=False), LIMITS, "B-D")]
    noise = vectors.noise(vectors.compare(R, B, logits=False), vectors.compare(R, device, logits=False))
    assert noise is not None
    return {check.name: check.verdict for check in (*found, pooled.noise_check(noise, "bfloat16", LIMITS))}


def test_an_engine_that_rounds_as_bf16_does_passes() -> None:
    device = _unit(TRUE + RANDOM.normal(scale=0.011, size=TRUE.shape))
    assert _verdicts(device) == {"parity.distance": "pass", "parity.noise": "pass"}


@pytest.mark.parametrize("scale", [0.03, 0.06])
def test_twice_the_noise_of_bf16_is_caught_below_the_ceiling(scale: float) -> None:
    device = _unit(TRUE + RANDOM.normal(scale=scale, size=TRUE.shape))
    assert _verdicts(device) == {"parity.distance": "pass", "parity.noise": "fail"}


def test_a_vector_of_another_length_is_caught_although_its_cosine_is_1() -> None:
    device = {n: row * 3 for n, row in R.items()}
    pair = vectors.compare(R, device, logits=False)
    assert pair.cosine_min == pytest.approx(1.0)
    assert _verdicts(device) == {"parity.distance": "fail", "parity.noise": "fail"}


def test_numbers_that_are_none_fail() -> None:
    device = {**B, 3: np.full(32, np.nan, dtype=np.float32)}
    assert pooled.finite_check(device).verdict == "fail"
    pair = vectors.compare(B, device, logits=False)
    assert pair.nonfinite == 1
    assert [check.verdict for check in pooled.parity_checks(pair, LIMITS, "B-D")] == ["fail"]


def test_texts_that_do_not_reach_the_model_are_caught() -> None:
    same = dict.fromkeys(range(5), R[0])
    found = pooled.distinct_check(same, LIMITS)
    assert found is not None
    assert found.verdict == "fail"
    assert pooled.distinct_check({0: R[0]}, LIMITS) is None


def test_a_batch_that_leaks_into_its_neighbours_is_caught() -> None:
    floor = vectors.compare(R, B, logits=False)
    sound = _unit(TRUE + RANDOM.normal(scale=0.01, size=TRUE.shape))
    leaking = {n: row + np.float32(0.08) * R[(n + 1) % len(R)] for n, row in R.items()}
    verdicts = [
        pooled.repetition_check(
            "alone", vectors.compare(R, one, logits=False), floor, LIMITS, exact=False
        ).verdict
        for one in (sound, leaking)
    ]
    assert verdicts == ["pass", "fail"]
    again = vectors.compare(R, sound, logits=False)
    assert pooled.repetition_check("repeat", again, floor, LIMITS, exact=True).verdict == "fail"


def test_a_control_that_passes_every_gate_proves_nothing() -> None:
    floor = vectors.compare(R, B, logits=False)
    far, near = _unit(RANDOM.normal(size=TRUE.shape)), B
    found = {
        name: pooled.control_check(name, pair, vectors.noise(floor, pair), "bfloat16", LIMITS).verdict
        for name, pair in {
            "far": vectors.compare(far, R, logits=False),
            "near": vectors.compare(near, R, logits=False),
        }.items()
    }
    assert found == {"far": "pass", "near": "inconclusive"}
    (none,) = pooled.controls_checks({}, floor, "bfloat16", LIMITS, {"layer-skipped": "too few layers"})
    assert (none.verdict, "too few layers" in none.detail) == ("inconclusive", True)


LOGITS: Vectors = {n: np.array(row, dtype=np.float32) for n, row in enumerate([[2.0, -1.0], [0.5, 0.5]])}


def test_what_is_served_is_the_models_own_function_of_the_logits() -> None:
    softmax = {n: np.exp(row) / np.exp(row).sum() for n, row in LOGITS.items()}
    assert pooled.activation_check("softmax", LOGITS, softmax, LIMITS).verdict == "pass"
    assert pooled.activation_check("none", LOGITS, LOGITS, LIMITS).verdict == "pass"
    assert pooled.activation_check("sigmoid", LOGITS, softmax, LIMITS).verdict == "fail"


def _run(**changed: Any) -> PooledRun:
    answer = PooledAnswer(
        asked=(Tokens((1, 2)), Tokens((1, 3))),
        seen={0: (1, 2), 1: (1, 3)},
        left_out=(),
        long=None,
        pooling="LAST",
        normalised=True,
        settings=SETTINGS,
        seconds=EngineSeconds(1.0, 1.0, 0.0, 1.0, 3.0),
        peak_bytes=1,
        pass_seconds={},
        orders={},
        added={},
    )
    return PooledRun((("a",), ("b",)), replace(answer, **changed), {"batch": {0: R[0], 1: R[1]}}, Started())


def test_an_engine_that_pools_otherwise_than_the_model_says_is_caught() -> None:
    assert pooled.settings_check(EMBED, "cpu", _run()).verdict == "pass"
    wrong = pooled.settings_check(EMBED, "cpu", _run(pooling="MEAN", normalised=False))
    assert wrong.verdict == "fail"
    assert "modules.json says LAST pooling, and the engine pools MEAN" in wrong.detail
    assert "does not normalise" in wrong.detail


def test_other_tokens_than_the_tokenizers_are_caught() -> None:
    assert pooled.tokens_check(_run()).verdict == "pass"
    assert pooled.tokens_check(_run(seen={0: (1, 2, 2), 1: (1, 3)})).verdict == "fail"


def _result() -> VerifyResult:
    pair = vectors.compare(R, B, logits=False)
    facts = VectorFacts(
        task="embed",
        pooling="LAST",
        normalised=True,
        width=32,
        half="bfloat16",
        rows=(VectorRow(0, ("a | b",), 2, {"R-B": pair.texts[0]}),),
        pairs={"R-B": pair, "B-D": pair},
        controls={"wrong-pooling": pair},
        noise=vectors.noise(pair, pair),
        repeated={"alone": pair},
        refused={"layer-skipped": "too few layers"},
        versions={"transformers": "5"},
    )
    check = Check("parity.distance", "pass", 0.01, 0.1, "…")
    return VerifyResult(
        ModelFacts("m", "embed"), Device("cpu", "x86", DeviceFacts((), {})), (check,), vectors=facts
    )


def test_the_document_is_what_its_schema_says() -> None:
    need_schema(json.loads(json.dumps(_result().document())))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("form", ["markdown", "html"])
def test_the_report_has_the_cosines_of_every_text(form: Any, language: Any) -> None:
    text = render(_result().document(), form, language).text
    assert f"{_result().document()['vectors']['pairs']['R-B']['cosine_min']:.6f}" in text  # type: ignore[index,call-overload]
    for words in ("wrong-pooling", "too few layers", "LAST"):
        assert words in text
    assert {"en": "Text by text", "zh": "逐个文本"}[language] in text
