"""What each command prints with `--json`, as types: whoever makes a document, whoever reads it and its schema agree.

`verify-on-npu` alone has its types in `report.document`. A key of a class marked `total=False` may be missing; `object`
stands for any JSON value, such as a config's. The docstrings stand in the schemas as descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003 - schemas are made of these types
from typing import Literal, TypeAlias, TypedDict

# JSON has no NaN: where a figure is none, a document has null.
Figure: TypeAlias = float | None


class Origin(TypedDict, total=False):
    """When and by what a document was made, and what it rests on.

    weightsmith, python: versions. made: when, ISO 8601. command_line: as it was typed. fingerprint: hashes by file,
    the name of the hash before a colon; `tensors` is that of all names, dtypes and shapes.
    """

    weightsmith: str
    python: str
    made: str
    command_line: str
    fingerprint: Mapping[str, str]


class CheckpointSummary(TypedDict):
    """What was read. bytes: of the weights. dtypes: parameters by dtype."""

    path: str
    format: str
    files: Sequence[str]
    tensors: int
    parameters: int
    bytes: int
    dtypes: Mapping[str, int]


class ProblemEntry(TypedDict):
    """Something wrong that did not stop the command. code is stable, message is for people."""

    code: str
    message: str


# infer-config


class ArchitectureEntry(TypedDict):
    """The family, by whose word (source), and the others that the tensors cannot be told from."""

    model_type: str | None
    architectures: Sequence[str]
    source: Literal["config", "tensors"]
    alternatives: Sequence[str]
    unmatched_tensors: Sequence[str]
    missing_tensors: Sequence[str]


class _Measures(TypedDict, total=False):
    statistic: Figure
    margin: Figure


class EvidenceEntry(_Measures):
    """One tensor that bears on a field; axis and size are null where its presence alone is the evidence.

    statistic, margin: where the numbers of the weights tell the field.
    """

    tensor: str
    axis: int | None
    size: int | None
    equation: str


class FieldEntry(TypedDict):
    """One field: what the file states, what the class takes by default, what the corrected config has, and why."""

    name: str
    configured: object
    default: object
    derived: object
    status: Literal["agrees", "differs", "missing", "ambiguous", "unverifiable"]
    basis: Literal["weights", "weights+config", "values", "behaviour", "guess"] | None
    candidates: Sequence[object]
    evidence: Sequence[EvidenceEntry]


class GuessEntry(TypedDict):
    """A field that nothing decides: its value, every value that would do, and the option that settles it."""

    name: str
    value: object
    candidates: Sequence[object]
    order: Literal["published", "class-default", "likelihood"]
    settle: str
    together: Sequence[str]


class LearnedEntry(TypedDict):
    """Where the page is from that was learned, and what it does not express, with the reason."""

    source: str
    unexpressed: Mapping[str, str]


class BuildDifferenceEntry(TypedDict):
    """A tensor as it is stored and as transformers builds it; null where a side lacks it."""

    tensor: str
    stored: Sequence[int] | None
    built: Sequence[int] | None


class ProofEntry(TypedDict):
    """What transformers built from the corrected config, and where the checkpoint is different."""

    verdict: Literal["holds", "differs"]
    reference: str
    architecture: str
    tensors: int
    differences: Sequence[BuildDifferenceEntry]


class FalseAlarmsEntry(TypedDict):
    """How often a statistic was wrong, of how many sound or untrained models, when its limits were set."""

    wrong: int
    asked: int


class ValueFindingEntry(TypedDict):
    """What one statistic over the numbers found; value, statistic and margin are null where there is none."""

    name: str
    telling: Literal["told", "not told", "contradicted"]
    value: object
    says: str
    tensors: str
    statistic: Figure | None
    margin: Figure | None
    false_alarms: FalseAlarmsEntry


class ExclusionEntry(TypedDict):
    """A value with which known texts are less likely: nats per token, and standard errors."""

    value: object
    nats: Figure
    z: Figure


class BehaviourFindingEntry(TypedDict):
    """What the likelihood of known texts says of one setting."""

    name: str
    telling: Literal["told", "not told", "contradicted"]
    value: object
    best: object
    allowed: Sequence[object]
    ruled_out: Sequence[ExclusionEntry]
    says: str
    whole: bool
    instead: Sequence[str]


class ToldEquationEntry(TypedDict):
    """An equation, the first tensor that attests it, and how many do. axis: null where it counts tensors."""

    tensor: str
    axis: int | None
    equation: str
    size: int
    tensors: int


class ToldRowEntry(TypedDict):
    """One way in which fields can be together, and the corrections of the config that it costs."""

    assignment: Mapping[str, object]
    price: float


class RelationEntry(TypedDict):
    """What fields can be together: the first rows of `count`. gap: why there may be others; empty where there are none.

    open_fields: why single fields may have other values.
    """

    witness: str
    fields: Sequence[str]
    rows: Sequence[ToldRowEntry]
    count: int
    gap: str
    open_fields: Mapping[str, str]


class ExplanationEntry(TypedDict):
    """How the shapes came to their answer.

    alone: fields that equations decide without a search. said: what each witness knew beside. joined: the same where
    they share a field, the best row first. rest: fields that nothing tells. predicted, unlike: tensors that are as the
    equations predict, and that are not.
    """

    equations: Sequence[ToldEquationEntry]
    alone: Mapping[str, object]
    said: Sequence[RelationEntry]
    joined: Sequence[RelationEntry]
    rest: Sequence[str]
    predicted: int
    unlike: int


class _InferredOnRequest(Origin, total=False):
    learned: LearnedEntry
    values: Sequence[ValueFindingEntry]
    behaviour: Sequence[BehaviourFindingEntry]
    proof: ProofEntry
    explanation: ExplanationEntry


class InferConfigDocument(_InferredOnRequest):
    """What `infer-config` found. learned: with --learn. proof: with --check. values: with --values.

    behaviour: with --behaviour. explanation: with --explain.
    """

    command: Literal["infer-config"]
    checkpoint: CheckpointSummary
    architecture: ArchitectureEntry
    verdict: Literal["agrees", "differs", "derived", "guessed", "unknown"]
    fields: Sequence[FieldEntry]
    problems: Sequence[ProblemEntry]
    config: Mapping[str, object]
    guesses: Sequence[GuessEntry]
    dialect: Literal["transformers-4", "transformers-5"] | None
    misread: Sequence[str]


# inspect


class StatisticsEntry(TypedDict):
    """Of a tensor's finite numbers; others counts NaN and infinities. histogram: 16 bins over eight deviations."""

    mean: Figure
    std: Figure
    absmax: Figure
    zeros: int
    others: int
    histogram: Sequence[int]


class _Measured(TypedDict, total=False):
    statistics: StatisticsEntry


class TensorEntry(_Measured):
    """One tensor as it is stored. statistics: with --tensors and --values."""

    name: str
    dtype: str
    shape: Sequence[int]
    file: str
    bytes: int


class PartEntry(TypedDict):
    """A part of the model. tensors and bytes: as stored. parameters: packed weights as what they stand for."""

    name: str
    tensors: int
    parameters: int
    bytes: int


class LayerEntry(TypedDict):
    """A layer of a stack. kind: alike layers have the same number. odd: how it alone differs from most."""

    stack: str
    index: int
    tensors: int
    parameters: int
    bytes: int
    kind: int
    odd: Sequence[str]


class QuantizationEntry(TypedDict):
    """How the weights are packed. group_size: -1 for one scale a row, 0 for one a weight."""

    method: str
    source: Literal["tensors", "config"]
    evidence: str
    bits: int | None
    group_size: int | None
    symmetric: bool | None
    parameters: int | None


class FusionEntry(TypedDict):
    """Whether ternary weights are fused. group_size: channels that share a scale, -1 for the whole row."""

    state: Literal["fused", "latent", "packed", "mixed", "none"]
    group_size: int | None
    tensors_checked: int


class DamageEntry(TypedDict):
    """What is wrong with the numbers of a tensor."""

    tensor: str
    what: str


class HashEntry(TypedDict):
    """A file against weightsmith.json."""

    file: str
    verdict: Literal["same", "same size", "changed", "other size", "missing", "not listed"]


class CallEntry(TypedDict):
    """What code of the folder can do to a machine, read from its text. line: of the first of `times` places."""

    file: str
    line: int
    name: str
    kind: str
    times: int


class CodeEntry(TypedDict):
    """Code that travels with the weights. auto_map: class by file and name. unread: file -> why it was not read."""

    files: Sequence[str]
    auto_map: Mapping[str, str]
    calls: Sequence[CallEntry]
    unread: Mapping[str, str]


class LicenceEntry(TypedDict):
    """The licence, and the file that names it."""

    name: str
    file: str


class GenerationEntry(TypedDict):
    """A generation setting that config.json does not have, or has otherwise; "(absent)" where it has none."""

    name: str
    value: object
    config: object


class _Surveyed(TypedDict, total=False):
    fusion: FusionEntry
    damage: Sequence[DamageEntry]
    sampled: Literal[True]
    hashes: Sequence[HashEntry]


class QuestionEntry(TypedDict):
    """What must be said before the weights of a training run can be converted, and what the shapes allow."""

    name: str
    candidates: Sequence[int]
    why: str


class TrainingRunEntry(TypedDict):
    """The run whose processes left the parts of the checkpoint. layout: degree of each kind of parallelism."""

    library: str
    processes: int
    layout: Mapping[str, int]
    left_out: Sequence[str]
    questions: Sequence[QuestionEntry]


class InspectDocument(_Surveyed):
    """What `inspect` found. fusion, damage, sampled: with --values. hashes: with --hashes. run: null of a release."""

    command: Literal["inspect"]
    checkpoint: CheckpointSummary
    tensors: Sequence[TensorEntry]
    parts: Sequence[PartEntry]
    layers: Sequence[LayerEntry]
    quantization: QuantizationEntry | None
    code: CodeEntry
    licence: LicenceEntry | None
    generation: Sequence[GenerationEntry]
    run: TrainingRunEntry | None


# convert


class ConvertedTensors(TypedDict):
    """How many tensors were converted in which way."""

    copied: int
    converted: int
    created: int
    dropped: int


class ConvertedBytes(TypedDict):
    """Of weights."""

    read: int
    written: int


# `from` is a word of Python. null: absent.
ConfigChangeEntry = TypedDict("ConfigChangeEntry", {"name": str, "from": object, "to": object})


class ConversionPartEntry(TypedDict):
    """A part of a conversion. finished: weights files of all parts that are there, of `files`."""

    number: int
    of: int
    there_before: int
    finished: int
    files: int


class NodeEntry(TypedDict):
    """A machine of a cluster, and what it wrote of a conversion, or will. at_once: parts at a time."""

    name: str
    at_once: int
    parts: int
    bytes: int
    bytes_per_second: int | None
    seconds: float


ConversionVerdict: TypeAlias = Literal["written", "part", "planned", "unsound"]


class ConvertDocument(Origin):
    """What `convert` did, or in a dry run would do. left_out: side files that were not copied, and why."""

    command: Literal["convert"]
    verdict: ConversionVerdict
    dry_run: bool
    converter: str
    reason: str
    options: Mapping[str, object]
    source: str
    output: str
    files: Sequence[str]
    tensors: ConvertedTensors
    bytes: ConvertedBytes
    seconds: float
    config_changes: Sequence[ConfigChangeEntry]
    problems: Sequence[ProblemEntry]
    notes: Sequence[str]
    left_out: Mapping[str, str]
    part: ConversionPartEntry | None
    nodes: Sequence[NodeEntry]


# diff


class _Shapes(TypedDict, total=False):
    shapes: Sequence[Sequence[int]]


class TensorDifferenceEntry(_Shapes):
    """One tensor that both have. relative: the norm of a - b over that of a. shapes: of a and b, where they differ."""

    name: str
    status: Literal["identical", "equal", "differs"]
    max_abs: Figure
    max_ulp: int | None
    mismatched: int | None
    elements: int
    cosine: Figure
    relative: Figure


class SettingEntry(TypedDict):
    """One setting of a file beside the weights; "(absent)" where a side has none."""

    file: str
    name: str
    a: object
    b: object


class LowRankEntry(TypedDict):
    """Weights that differ by matrices of one rank, as a merged LoRA leaves them."""

    weights: str
    rank: int
    tensors: int
    probed: int


class PackedSides(TypedDict):
    """How each side's weights are packed."""

    a: str | None
    b: str | None


class LineageEntry(TypedDict):
    """What two checkpoints are to each other; figures are null where nothing was compared."""

    relation: Literal["same", "quantized", "trained", "rotated", "permuted", "unrelated", "not told"]
    towards: str | None
    log10_p: Figure | None
    correlation: Figure | None
    cosine: Figure | None
    blocks: int


class _Packed(Origin, total=False):
    packed: PackedSides
    lineage: LineageEntry


class DiffDocument(_Packed):
    """How two checkpoints differ. packed: where what the codes of one side stand for was compared. lineage: with
    --lineage.
    """

    command: Literal["diff"]
    a: CheckpointSummary
    b: CheckpointSummary
    verdict: Literal["identical", "equal", "differs"]
    tensors: Sequence[TensorDifferenceEntry]
    only_in_a: Sequence[str]
    only_in_b: Sequence[str]
    settings: Sequence[SettingEntry]
    low_rank: Sequence[LowRankEntry]


# fits


class TargetEntry(TypedDict):
    """Where it is to be served. memory_per_card: bytes; null: not known."""

    engine: str
    transformers: str
    chip: str
    cards: int
    memory_per_card: int | None


class ReasonEntry(TypedDict):
    """Why it does not load or fit there, or why nobody can tell (open)."""

    code: str
    message: str
    weight: Literal["refused", "wrong", "open"]


class CardsEntry(TypedDict):
    """What each of so many cards holds."""

    cards: int
    weights_bytes_per_card: int
    kv_tokens: int | None
    max_context: int | None
    concurrency: Figure


class FitsDocument(Origin):
    """Whether a checkpoint loads and fits there. Sizes are bytes, contexts tokens; null: not known."""

    command: Literal["fits"]
    checkpoint: CheckpointSummary
    target: TargetEntry
    verdict: Literal["fits", "does-not-fit", "unknown"]
    reasons: Sequence[ReasonEntry]
    notes: Sequence[str]
    weights_bytes_per_card: int
    kv_bytes_per_token: int
    kv_memory_per_card: int | None
    kv_tokens: int | None
    max_context: int | None
    context: int | None
    concurrency: Figure
    min_cards: int | None
    by_cards: Sequence[CardsEntry]


# doctor


class FindingEntry(TypedDict):
    """One check. fix: what mends it, empty where mending its cause does. follows_from: the check that explains it."""

    name: str
    verdict: Literal["ok", "warn", "fail", "absent"]
    found: str
    expected: str
    fix: str
    follows_from: str | None
    cause_of: Sequence[str]


class DoctorDocument(Origin):
    """What is wrong with a machine."""

    command: Literal["doctor"]
    conclusion: str
    checks: Sequence[FindingEntry]


class FactDifference(TypedDict):
    """A fact of two machines; empty where one has none."""

    fact: str
    a: str
    b: str


class ComparisonDocument(TypedDict):
    """How two machines differ: `doctor --compare`."""

    command: Literal["doctor"]
    conclusions: Sequence[str]
    differences: Sequence[FactDifference]


# check


class CheckFindingEntry(TypedDict):
    """Something that is wrong: of which kind (rule), in which file, and in which of its lines, from 1."""

    rule: str
    level: Literal["error", "warning"]
    message: str
    path: str
    line: int | None


class CheckEntry(TypedDict):
    """One check of a checkpoint, and what was looked at, or why it was left out."""

    name: str
    verdict: Literal["pass", "fail", "unreadable", "skip"]
    says: str
    findings: Sequence[CheckFindingEntry]


class CheckedEntry(TypedDict):
    """All checks of one checkpoint."""

    path: str
    verdict: Literal["sound", "unsound", "unreadable"]
    checks: Sequence[CheckEntry]


class CheckDocument(TypedDict):
    """Whether checkpoints are sound. The verdict is the worst of all."""

    command: Literal["check"]
    verdict: Literal["sound", "unsound", "unreadable"]
    checkpoints: Sequence[CheckedEntry]


# report, verify-on-npu --print-command, errors


class ReportDocument(TypedDict):
    """That a report was made, and where."""

    command: Literal["report"]
    report: str | None
    form: Literal["markdown", "html", "json"]
    language: Literal["en", "zh"]


class CommandsDocument(TypedDict):
    """How an engine is served, asked, and started in Python: `verify-on-npu --print-command`."""

    command: Literal["verify-on-npu"]
    serve: str
    ask: str
    python: str


class ErrorEntry(TypedDict):
    """What could not be done: kind of error, the file or argument, the fact, and the way out."""

    kind: str
    where: str
    what: str
    way_out: str


class ErrorDocument(TypedDict):
    """What every command prints instead of its result where it exits 2."""

    error: ErrorEntry
