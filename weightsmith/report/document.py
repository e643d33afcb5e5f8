"""The document of a verification, read again: every type checked, whoever kept it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from weightsmith.errors import InvalidConfig
from weightsmith.json_value import finite
from weightsmith.records import MADE_HERE, NotARecord, Record
from weightsmith.verify.checks import Check, Verdict
from weightsmith.verify.engine.bench_job import LoadRun
from weightsmith.verify.engine.engine_job import Setting
from weightsmith.verify.engine.startup import Startup
from weightsmith.verify.judge import gates
from weightsmith.verify.measure.speed import Ratio
from weightsmith.verify.result import CheckpointFacts, Needs
from weightsmith.verify.tasks.task_job import TaskRun

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject

# JSON has no NaN: where a figure is none, the document has null.
Figure = float | None
PairName = Literal["R-B", "R-D", "B-D", "F-D"]


@dataclass(frozen=True, slots=True)
class Seen(Record):
    """Of the device, what torch said of it. memory, free: bytes of each."""

    packages: Mapping[str, str] = field(default_factory=dict)
    count: int | None = None
    names: tuple[str, ...] = ()
    memory: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()
    visible: str | None = None
    available: bool | None = None
    free: tuple[int, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceRead(Record):
    """Where the engine ran."""

    kind: str
    name: str
    seen: Seen
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineRead(Record):
    """The settings of an engine, as `verify.engine.engine_job.EngineSettings`; nothing of it where none ran."""

    dtype: Setting = None
    max_model_len: Setting = None
    quantization: Setting = None
    eager: Setting = None
    prefix_caching: Setting = None
    chunked_prefill: Setting = None
    max_num_batched_tokens: Setting = None
    max_num_seqs: Setting = None
    graph_mode: Setting = None
    tensor_parallel: Setting = None
    pipeline_parallel: Setting = None
    data_parallel: Setting = None
    expert_parallel: Setting = None
    speculative: Setting = None
    preemptions: Setting = None
    prefix_cache_hits: Setting = None
    drafted: Setting = None
    accepted: Setting = None
    versions: Mapping[str, str] = field(default_factory=dict)
    eager_and_graphs: str | None = None
    arguments: tuple[str, ...] | None = None
    added: Mapping[str, Setting] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    architecture: Setting = None
    block_size: Setting = None
    kv_cache_dtype: Setting = None
    kv_blocks: Setting = None
    async_scheduling: Setting = None
    compilation: Setting = None
    device_type: Setting = None
    attention_backends: tuple[str, ...] = ()
    prefix_cache_queries: Setting = None
    graph_sizes: tuple[int, ...] = ()
    additional: str | None = None
    model_class: str | None = None
    int8_error: Figure = None
    condition_tokens: bool | None = None
    left_out_prompts: tuple[int, ...] | None = None
    deterministic: bool | None = None


@dataclass(frozen=True, slots=True)
class FiguresRead(Record):
    """A pair over some positions, as `verify.measure.parity.Figures`."""

    positions: int
    kl_mean: Figure
    kl_p99: Figure
    kl_max: Figure
    delta_rms: Figure
    delta_max: Figure
    delta_p_rms: Figure
    top1: Figure
    top5: Figure
    top10: Figure
    pearson: Figure
    pearson_min: Figure
    cosine: Figure
    perplexity: Figure
    perplexity_other: Figure


@dataclass(frozen=True, slots=True)
class FlipRead(Record):
    """A position where two sides prefer different tokens."""

    prompt: int
    position: int
    margin: Figure
    wanted: int
    got: int


@dataclass(frozen=True, slots=True)
class WorstRead(Record):
    """The prompt with the largest mean KL."""

    prompt: int
    kl_mean: Figure


@dataclass(frozen=True, slots=True)
class PairRead(FiguresRead):
    """A pair over all positions."""

    nonfinite: int
    flips: tuple[FlipRead, ...]
    worst_prompt: WorstRead | None = None


@dataclass(frozen=True, slots=True)
class NoiseRead(Record):
    """The device against bf16's own noise."""

    kl_ratio: Figure
    kl_ratio_upper: Figure
    rms_ratio: Figure
    bf16_share: Figure
    device_share: Figure
    kl_ratio_rest: Figure = None
    kl_ratio_loudest: Figure = None


@dataclass(frozen=True, slots=True)
class ControlRead(PairRead):
    """A wrong reference against the device."""

    noise_floor: NoiseRead | None = None


@dataclass(frozen=True, slots=True)
class ChosenRead(Record):
    """Log-probabilities of chosen tokens, position by position."""

    reference: Literal["R", "B"]
    positions: int
    of_reference: tuple[float, ...]
    of_device: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ParityRead(Record):
    """The device and its references; nothing of it where nothing was compared."""

    reference: str = ""
    partial: bool = False
    pairs: Mapping[str, PairRead] = field(default_factory=dict)
    controls: Mapping[str, ControlRead] = field(default_factory=dict)
    noise_floor: NoiseRead | None = None
    baseline_noise: NoiseRead | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    layer_by_layer: Mapping[str, str] = field(default_factory=dict)
    cached: tuple[str, ...] = ()
    cache_fault: str | None = None
    chosen: ChosenRead | None = None
    half: str = "bfloat16"


@dataclass(frozen=True, slots=True)
class PromptRead(Record):
    """One prompt, and what became of it. parity: by pair."""

    prompt: str
    expect: str | None
    answer: str | None
    answered: bool | None = None
    prompt_tokens: int | None = None
    token_ids: tuple[int, ...] = ()
    finish: str | None = None
    alone_s: Figure = None
    parity: Mapping[str, FiguresRead] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RepetitionRead(Record):
    """The same requests in another arrangement."""

    name: str
    prompts: int
    same_tokens: int
    same_bits: int
    delta_max: Figure
    parted: Mapping[str, int]
    lead_max: Figure = None


@dataclass(frozen=True, slots=True)
class PerformanceRead(Record):
    """Times, as `verify.result.Performance`."""

    load_s: Figure
    single_tokens_per_s: Figure
    single_latency_s: Figure
    single_ttft_s: Figure
    single_tpot_s: Figure
    batch_requests: int
    batch_tokens: int
    batch_tokens_per_s: Figure
    kv_cache_tokens: int
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class HostRead(Record):
    """The machine."""

    python: str
    system: str
    architecture: str
    memory: int | None
    driver: str | None
    cann: str | None
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ChangeRead(Record):
    """A setting that the weights rule out. mended: by `convert`, already."""

    name: str
    old: object
    new: object
    evidence: str
    mended: bool


@dataclass(frozen=True, slots=True)
class ModelRead(Record):
    """The model. config: as it was read. changes: what the weights rule out in it."""

    name: str
    kind: str
    checkpoint: CheckpointFacts | None
    hashes: Mapping[str, str]
    config: Mapping[str, object] = field(default_factory=dict)
    changes: tuple[ChangeRead, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedRead(Record):
    """A server that was asked as well; nothing of it where none was. words: behind `vllm serve`."""

    words: tuple[str, ...] = ()
    loading: Figure = None
    startup: Startup = field(default_factory=Startup)
    clean: bool | None = None
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgainstRead(Record):
    """A task against its baseline, as `verify.measure.accuracy.Accuracy`."""

    baseline: float
    drop: float
    noise: float
    detectable: float
    tolerance: float | None
    lost: int | None
    gained: int | None
    items: int | None = None
    accuracy: Figure = None
    enough: int | None = None
    blind: bool | None = None
    threshold: Figure = None
    decided_by: str | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class TaskRead(TaskRun):
    """A task that was run. against: None without a baseline; source: where that is from."""

    accuracy: float = 0.0
    against: AgainstRead | None = None
    source: str = ""
    unpaired: str | None = None


@dataclass(frozen=True, slots=True)
class BenchRead(Record):
    """Loads that the server was measured under; none where it was not."""

    loads: tuple[LoadRun, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    source: str = ""
    device: str = ""
    engine: str = ""
    settings: str = ""


@dataclass(frozen=True, slots=True)
class ApartRead(Record):
    """One text's vector on two sides, as `verify.measure.vectors.Apart`."""

    cosine: Figure
    distance: Figure


@dataclass(frozen=True, slots=True)
class VectorRowRead(Record):
    """One text, or a query and a document. number: as the checks name it. parity: by pair."""

    number: int
    text: tuple[str, ...]
    tokens: int
    parity: Mapping[str, ApartRead]


@dataclass(frozen=True, slots=True)
class VectorPairRead(Record):
    """Two sides over all texts, as `verify.measure.vectors.VectorPair`."""

    cosine_min: Figure
    cosine_mean: Figure
    distance_max: Figure
    distance_rms: Figure
    nonfinite: int
    worst: int | None
    texts: Mapping[str, ApartRead] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VectorNoiseRead(Record):
    """The device against the noise of its dtype."""

    ratio: Figure
    upper: Figure


@dataclass(frozen=True, slots=True)
class VectorsRead(Record):
    """The vectors of a model that generates no text, as `verify.result.VectorFacts`."""

    task: str
    pooling: str | None
    normalised: bool | None
    width: int
    half: str
    rows: tuple[VectorRowRead, ...]
    pairs: Mapping[str, VectorPairRead]
    controls: Mapping[str, VectorPairRead]
    noise: VectorNoiseRead | None
    repeated: Mapping[str, VectorPairRead]
    refused: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that the weights rule out; its values as JSON text."""

    name: str
    old: str
    new: str
    evidence: str
    mended: bool


@dataclass(frozen=True, slots=True)
class Document(Record):
    """All that a report is made of.

    not_run: what could not be arranged, and why. changes: of the config.
    settings: of the engine, and config: of the model, by name, each value as text.
    """

    command: Literal["verify-on-npu"]
    verdict: Verdict
    device: DeviceRead
    engine: EngineRead
    checks: tuple[Check, ...]
    parity: ParityRead
    prompts: tuple[PromptRead, ...]
    determinism: tuple[RepetitionRead, ...]
    seconds: Mapping[str, float]
    own_limits: Mapping[str, tuple[float, ...]]
    weightsmith: str
    made: str | None
    command_line: str
    host: HostRead | None
    model: ModelRead
    performance: PerformanceRead | None
    needs: Needs | None
    foretold: str = ""
    not_run: Mapping[str, str] = field(default_factory=dict)
    served: ServedRead | None = None
    tasks: tuple[TaskRead, ...] = ()
    bench: BenchRead = field(default_factory=BenchRead)
    vectors: VectorsRead | None = None
    report: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict, metadata=MADE_HERE)
    config: Mapping[str, str] = field(default_factory=dict, metadata=MADE_HERE)
    changes: tuple[Change, ...] = field(default=(), metadata=MADE_HERE)

    @property
    def ran(self) -> bool:
        """Whether an engine ran."""
        return bool(self.settings)

    def check(self, name: str) -> Check | None:
        """The check of this name."""
        return next((one for one in self.checks if one.name == name), None)

    def verdict_of(self, name: str) -> Verdict | None:
        """Of the check of this name, None where there is none."""
        found = self.check(name)
        return None if found is None else found.verdict

    def limit(self, gate: str) -> float:
        """The limit that a gate had."""
        own = self.own_limits.get(gate, ())
        return own[0] if own else gates.limits()[gate]


def read(document: JsonObject, called: str) -> Document:
    """A verification's document that was kept. called: its file. Raises InvalidConfig where it is not whole."""
    try:
        found = Document.from_json(finite(document))
    except NotARecord as error:
        way_out = "make it again with this version of weightsmith"
        raise InvalidConfig(called, f"is no whole result of verify-on-npu ({error})", way_out) from error
    engine = document.get("engine")
    return replace(
        found,
        settings=_texts(engine if isinstance(engine, Mapping) else {}),
        config=_texts(found.model.config),
        changes=tuple(map(_change, found.model.changes)),
    )


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    """A value as JSON has it, but a text without quotes and nothing for null."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _change(row: ChangeRead) -> Change:
    return Change(row.name, _text(row.old), _text(row.new), row.evidence, row.mended)
