"""The job of the engine's child, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from weightsmith.records import Record
from weightsmith.verify.engine.device import DeviceKind
from weightsmith.verify.inputs.pictures import Pictured
from weightsmith.verify.inputs.tokens import PassResult

# A setting whose type differs between vLLM's versions.
Setting: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Pass(Record):
    """One arrangement of the same greedy requests. Prompts made to the engine's size go along, see `Sized`.

    order: prompt numbers.
    together: in one batch, else one by one.
    cold: the prefix cache is emptied first.
    crowded: all at once, whatever the cache has room for.
    """

    name: str
    order: tuple[int, ...]
    together: bool
    cold: bool
    crowded: bool = False


@dataclass(frozen=True, slots=True)
class EngineJob(Record):
    """What the engine is started with and asked.

    model: the folder.
    prompts: texts; before, after: special tokens around each, used where the tokenizer has all of them.
    max_tokens: of each completion.
    max_positions: what the model's config allows, None where it says nothing.
    prefix_caching, chunked_prefill: None leaves the choice to the engine.
    entries: the most log-probabilities to write, 0 for none.
    arguments: what the user gives to `vllm serve`, and then no other setting is chosen here; None: weightsmith chooses.
    deterministic: whether an NPU is to repeat itself.
    chunk: the most tokens to be prefilled at once, None leaves it to the engine.
    sized: whether prompts are made to the engine's size.
    long_tokens: of one long answer, 0 for none.
    changes: settings that another engine beside the first one has instead.
    memory_share: of an accelerator's memory that is free for the engine, None where nobody knows it.
    max_logprobs: the most the engine may be asked for at a position, -1 for the whole vocabulary.
    kv_gib: GiB of KV cache on a CPU.
    pictures: whether it is asked about pictures, too.
    """

    model: str
    device: DeviceKind
    dtype: str
    prompts: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    max_tokens: int
    max_positions: int | None
    max_num_seqs: int
    eager: bool
    prefix_caching: bool | None
    chunked_prefill: bool | None
    entries: int
    max_logprobs: int
    passes: tuple[Pass, ...]
    kv_gib: int
    arguments: tuple[str, ...] | None = None
    chunk: int | None = None
    sized: bool = False
    long_tokens: int = 0
    changes: Mapping[str, Setting] = field(default_factory=dict)
    deterministic: bool = False
    memory_share: float | None = None
    pictures: bool = False


@dataclass(frozen=True, slots=True)
class EngineSettings(Record):
    """Effective settings, counters and versions, read back from a running engine; None for what it does not show.

    graph_sizes: batches for which graphs were captured.
    speculative: the method and its tokens at a time.
    drafted, accepted: tokens, by a speculative method.
    additional: the `--additional-config`, as JSON.
    model_class: that the workers really loaded.
    int8_error: how far the int8 products of a CPU are off, relative, where the model needs them.
    """

    dtype: Setting
    architecture: Setting
    max_model_len: int | None
    quantization: Setting
    eager: bool | None
    block_size: int | None
    kv_cache_dtype: Setting
    kv_blocks: int | None
    prefix_caching: bool | None
    chunked_prefill: bool | None
    max_num_batched_tokens: Setting
    max_num_seqs: Setting
    async_scheduling: Setting
    compilation: Setting
    graph_mode: Setting
    tensor_parallel: Setting
    device_type: Setting
    attention_backends: tuple[str, ...]
    preemptions: int | float | None
    prefix_cache_queries: int | float | None
    prefix_cache_hits: int | float | None
    versions: Mapping[str, str]
    pipeline_parallel: Setting = None
    data_parallel: Setting = None
    expert_parallel: Setting = None
    graph_sizes: tuple[int, ...] = ()
    speculative: str | None = None
    drafted: int | float | None = None
    accepted: int | float | None = None
    additional: str | None = None
    model_class: str | None = None
    int8_error: float | None = None


@dataclass(frozen=True, slots=True)
class EngineSeconds(Record):
    """Wall time of the engine's stages.

    after_load: all that follows the loading.
    measuring: the engine's part in the log-probabilities of the whole vocabulary.
    whole: the child's life, as its parent has measured it.
    """

    importing: float
    loading: float
    measuring: float
    after_load: float
    whole: float = 0.0


@dataclass(frozen=True, slots=True)
class MeasuredLogprobs(Record):
    """What the file of log-probabilities holds.

    tokens: of the completions that were measured, by prompt number.
    partial: only the engine's top k are there.
    seconds: the engine's part.
    """

    tokens: Mapping[int, tuple[int, ...]]
    vocabulary: int
    partial: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class LongAnswer(Record):
    """One long answer, and the same tokens prefilled by the same engine: two ways to the same probabilities.

    prompt: its number. decoded, prefilled: natural log of the probability of each token.
    """

    prompt: int
    tokens: tuple[int, ...]
    decoded: tuple[float, ...]
    prefilled: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reading(Record):
    """How likely an engine finds text that people wrote.

    tokens: how many were scored. natural: their mean log-probability, nats; shuffled: in another order.
    """

    tokens: int
    natural: float
    shuffled: float

    @property
    def gain(self) -> float:
        """By how much a token is likelier in the order that people wrote, nats."""
        return self.natural - self.shuffled


@dataclass(frozen=True, slots=True)
class EngineAnswer(Record):
    """What the child leaves beside its file of log-probabilities.

    prompt_ids: token ids by prompt.
    left_out: prompts that are too long for the model.
    wrapped: whether the template's special tokens were put around the prompts.
    texts: of the first pass, by prompt number.
    end_tokens: ids that may end a completion by themselves.
    passes: by name.
    added: settings that the user did not ask for: all of them where no arguments were given.
    sized: prompts that were made to the engine's size: number → what they make it do.
    not_run: what could not be arranged → why.
    chat: the number of the prompt that went through the chat template, None where there is no template.
    pictures: prompts with a picture, by number; their ids in `prompt_ids` are the model's own processor's.
    picture_ids: what the engine made of them.
    reading: of the built-in questions, None of a prefix-LM.
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    left_out: tuple[int, ...]
    wrapped: bool
    texts: Mapping[int, str]
    end_tokens: tuple[int, ...]
    passes: Mapping[str, PassResult]
    measured: MeasuredLogprobs
    settings: EngineSettings
    seconds: EngineSeconds
    peak_bytes: int
    added: Mapping[str, Setting] = field(default_factory=dict)
    sized: Mapping[int, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    long: LongAnswer | None = None
    chat: int | None = None
    pictures: Mapping[int, Pictured] = field(default_factory=dict)
    picture_ids: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    reading: Reading | None = None
