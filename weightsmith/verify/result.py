"""What a verification found, and the document that the command line's contract promises of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from weightsmith.json_value import finite
from weightsmith.records import Record, json_of, object_of
from weightsmith.verify.checks import Check, Verdict, combine
from weightsmith.verify.measure.vectors import Apart, VectorNoise, VectorPair
from weightsmith.version import __version__

if TYPE_CHECKING:
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.verify.engine.bench_job import LoadRun
    from weightsmith.verify.engine.device import Device
    from weightsmith.verify.engine.engine import Started
    from weightsmith.verify.engine.engine_job import EngineSettings
    from weightsmith.verify.engine.server_job import Served
    from weightsmith.verify.inputs.files import ConfigChange
    from weightsmith.verify.judge.task_checks import TaskResult
    from weightsmith.verify.measure.accuracy import Accuracy
    from weightsmith.verify.measure.chosen import ChosenTokens
    from weightsmith.verify.measure.parity import Figures, Pair, PairName, Parity
    from weightsmith.verify.measure.repetition import Repetition
    from weightsmith.verify.measure.speed import Ratio

__all__ = [
    "BenchFacts",
    "Check",
    "CheckpointFacts",
    "EngineFacts",
    "ModelFacts",
    "Needs",
    "ParityFacts",
    "Performance",
    "PromptOutcome",
    "PromptRow",
    "Verdict",
    "VerifyResult",
    "combine",
]


@dataclass(frozen=True, slots=True)
class CheckpointFacts(Record):
    """The files. nbytes: of the weights. dtypes: parameters by dtype."""

    path: str
    format: str
    parameters: int
    nbytes: int
    dtypes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model.

    kind: "causal" or "prefix-lm". checkpoint: None for the self-test's model, which has no files.
    changes: of its config.json. hashes: BLAKE3 of weights and tokenizer by file name, none where nobody needed them.
    """

    name: str
    kind: str
    checkpoint: CheckpointFacts | None = None
    config: JsonObject = field(default_factory=dict)
    changes: tuple[ConfigChange, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """How the engine ran. The fields below `settings` are None where no prompts of ours were asked (self-test).

    eager_and_graphs: why eager mode was not compared with graphs; None where it was.
    condition_tokens: whether the template's special tokens were put around the prompts.
    left_out_prompts: numbers of those that are too long for the model.
    started: with which arguments and variables; None in the self-test.
    """

    settings: EngineSettings
    eager_and_graphs: str | None = None
    condition_tokens: bool | None = None
    left_out_prompts: tuple[int, ...] | None = None
    started: Started | None = None

    def rows(self) -> dict[str, Json]:
        """Name → value, as the document has them."""
        own = {
            "eager_and_graphs": self.eager_and_graphs,
            "condition_tokens": self.condition_tokens,
            "left_out_prompts": json_of(self.left_out_prompts),
            **({} if self.started is None else object_of(self.started)),
        }
        return {
            **self.settings.to_json(),
            **{name: value for name, value in own.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class ParityFacts:
    """How far the device is from its reference, and what that reference is.

    reference: as it was asked for: "hf", or a baseline's path.
    versions: of the libraries that computed it.
    refused: why a dtype or a control could not be run, by name.
    layer_by_layer: dtype → why its weights were not in memory all at once.
    cached: the variations that were not computed now. cache_fault: why others could not be kept.
    chosen: a sample of the chosen tokens' log-probabilities, for a plot.
    half: the dtype of B, and of the noise that it is the measure of.
    """

    reference: str
    measured: Parity
    versions: Mapping[str, str]
    refused: Mapping[str, str]
    layer_by_layer: Mapping[str, str]
    cached: tuple[str, ...]
    cache_fault: str | None
    chosen: ChosenTokens | None = None
    half: str = "bfloat16"


@dataclass(frozen=True, slots=True)
class PromptOutcome:
    """What became of a prompt in an engine.

    answer: its completion as text, None where the prompt was left out.
    answered: whether the answer has the fact that the prompt expects; None where it expects none or was left out.
    prompt_tokens: how many. token_ids: of the completion. finish: why it ended.
    alone_s: seconds of the request by itself; None where it was not asked alone, or the engine keeps no times.
    """

    answer: str | None
    answered: bool | None
    prompt_tokens: int
    token_ids: tuple[int, ...]
    finish: str | None
    alone_s: float | None = None


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One prompt. outcome: None where no engine ran. parity: figures by pair, None where nothing was compared."""

    prompt: str
    expect: str | None
    outcome: PromptOutcome | None = None
    parity: Mapping[PairName, Figures] | None = None


@dataclass(frozen=True, slots=True)
class Performance:
    """Times as the field reports' tables have them, all without log-probabilities of the whole vocabulary.

    single_*: one request at a time, medians. batch_*: all prompts together. *_s: seconds.
    ttft: to the first token, tpot: per token after it; None where the engine keeps no times.
    kv_cache_tokens: that the KV cache has room for, 0 where unknown.
    """

    load_s: float
    single_tokens_per_s: float
    single_latency_s: float
    single_ttft_s: float | None
    single_tpot_s: float | None
    batch_requests: int
    batch_tokens: int
    batch_tokens_per_s: float
    kv_cache_tokens: int
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class BenchFacts:
    """The server under load.

    ratios: of each load to the same load of a former run. source: the file of that run, empty without one.
    device, engine: that it ran on. settings: of its server.
    """

    loads: tuple[LoadRun, ...]
    ratios: tuple[Ratio, ...]
    source: str
    device: str
    engine: str
    settings: str


@dataclass(frozen=True, slots=True)
class Needs(Record):
    """What the model asks of an engine and a chip that people serve it on, as `fits` says it.

    verdict: of `fits`. weights_bytes: on one card. context: tokens of one sequence. min_cards: None where none of the
    tried numbers is enough, or it is not known.
    """

    engine: str
    chip: str
    verdict: str
    weights_bytes: int
    kv_bytes_per_token: int
    context: int | None
    min_cards: int | None


@dataclass(frozen=True, slots=True)
class VectorRow(Record):
    """One text, or a query and a document. number: of it, as the checks name it. tokens: how many.

    parity: by pair, without those that were not compared.
    """

    number: int
    text: tuple[str, ...]
    tokens: int
    parity: Mapping[str, Apart]


@dataclass(frozen=True, slots=True)
class VectorFacts(Record):
    """The vectors of a model that generates no text.

    task, pooling, normalised: as `verify.inputs.pooling.Pooling`, the engine's own where the model says nothing.
    width: numbers of a vector. half: the dtype of B.
    noise: D against B's own noise. refused: why a dtype or a control could not be run.
    repeated: other arrangements against the first one.
    """

    task: str
    pooling: str | None
    normalised: bool | None
    width: int
    half: str
    rows: tuple[VectorRow, ...]
    pairs: Mapping[str, VectorPair]
    controls: Mapping[str, VectorPair]
    noise: VectorNoise | None
    repeated: Mapping[str, VectorPair]
    refused: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """All that one run found.

    engine, parity, performance: None where the run never came so far.
    report: path of the written report.
    command: the command line.
    seconds: by stage; `overhead_share` among them is a share of the run.
    own_limits: by gate, the user's limit and the gate's own.
    made: when, ISO 8601. host: the machine, a record of the room that reads it. needs: None where no engine ran.
    foretold: what `fits` says of this engine's KV cache; empty where it knows no answer.
    not_run: what could not be arranged, and why.
    served: the server that was asked as well. tasks, bench: that were run there.
    vectors: of a model that generates no text.
    """

    model: ModelFacts
    device: Device
    checks: tuple[Check, ...]
    engine: EngineFacts | None = None
    parity: ParityFacts | None = None
    prompts: tuple[PromptRow, ...] = ()
    determinism: tuple[Repetition, ...] = ()
    performance: Performance | None = None
    report: str | None = None
    command: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    own_limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    made: str | None = None
    host: Record | None = None
    needs: Needs | None = None
    foretold: str = ""
    not_run: Mapping[str, str] = field(default_factory=dict)
    served: Served | None = None
    tasks: tuple[TaskResult, ...] = ()
    bench: BenchFacts | None = None
    vectors: VectorFacts | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks' verdicts."""
        return combine(self.checks)

    def document(self) -> dict[str, Json]:
        """The JSON of `verify-on-npu --json`: its keys are the command line's contract."""
        document: dict[str, Json] = {
            "command": "verify-on-npu",
            "verdict": self.verdict,
            "device": json_of(self.device),
            "engine": {} if self.engine is None else self.engine.rows(),
            "checks": json_of(self.checks),
            "parity": {} if self.parity is None else _parity_document(self.parity),
            "prompts": [_prompt_document(row) for row in self.prompts],
            "report": self.report,
            "determinism": json_of(self.determinism),
            "seconds": json_of(self.seconds),
            "own_limits": json_of(self.own_limits),
            "weightsmith": __version__,
            "made": self.made,
            "command_line": self.command,
            "host": json_of(self.host),
            "model": {**object_of(replace(self.model, config={})), "config": self.model.config},
            "performance": json_of(self.performance),
            "needs": json_of(self.needs),
            "foretold": self.foretold,
            "not_run": json_of(self.not_run),
            "served": {} if self.served is None else _served_document(self.served),
            "tasks": [_task_document(one) for one in self.tasks],
            "bench": {} if self.bench is None else json_of(self.bench),
            "vectors": None if self.vectors is None else _vectors_document(self.vectors),
        }
        return cast("dict[str, Json]", finite(document))


def _served_document(served: Served) -> JsonObject:
    return {
        "words": list(served.words),
        "loading": served.loading,
        "clean": served.clean,
        "texts": json_of(served.answers.texts),
        "startup": json_of(served.startup),
    }


def _task_document(found: TaskResult) -> JsonObject:
    run, against = found.run, found.against
    judged = None if against is None else _accuracy_document(against)
    told = {"source": found.source, "unpaired": found.unpaired}
    return {**run.to_json(), "accuracy": run.mean, "against": judged, **told}


def _accuracy_document(against: Accuracy) -> JsonObject:
    own = {"drop": against.drop, "threshold": against.threshold, "decided_by": against.decided_by}
    return {**object_of(against), **own, "verdict": against.verdict}


def _vectors_document(vectors: VectorFacts) -> JsonObject:
    """The rows have the figures of each text; of a pair those over all texts are enough."""

    def overall(pair: VectorPair) -> Json:
        return {**object_of(replace(pair, texts={})), "worst": pair.worst}

    groups = {"pairs": vectors.pairs, "controls": vectors.controls, "repeated": vectors.repeated}
    told = {name: {n: overall(pair) for n, pair in pairs.items()} for name, pairs in groups.items()}
    return {**object_of(replace(vectors, pairs={}, controls={}, repeated={})), **told}


def _parity_document(parity: ParityFacts) -> JsonObject:
    measured = parity.measured
    return {
        "reference": parity.reference,
        "partial": measured.partial,
        "pairs": {name: _pair_document(pair) for name, pair in measured.pairs.items()},
        "controls": {
            name: {**_pair_document(control.pair), "noise_floor": json_of(control.noise)}
            for name, control in measured.controls.items()
        },
        "noise_floor": json_of(measured.noise),
        "baseline_noise": json_of(measured.baseline_noise),
        "versions": json_of(parity.versions),
        "refused": json_of(parity.refused),
        "layer_by_layer": json_of(parity.layer_by_layer),
        "cached": json_of(parity.cached),
        "cache_fault": parity.cache_fault,
        "chosen": json_of(parity.chosen),
        "half": parity.half,
    }


def _pair_document(pair: Pair) -> dict[str, Json]:
    worst, kl = pair.worst_prompt
    return {
        **object_of(pair.overall),
        "nonfinite": pair.nonfinite,
        "flips": json_of(pair.flips),
        "worst_prompt": {"prompt": worst, "kl_mean": kl},
    }


def _prompt_document(row: PromptRow) -> JsonObject:
    document: dict[str, Json] = {"prompt": row.prompt, "expect": row.expect}
    if row.outcome is None:
        return {**document, "answer": None}
    document |= object_of(row.outcome)
    return document if row.parity is None else {**document, "parity": json_of(row.parity)}
