"""The answer: does it load, what does each card hold, how much context fits, and on how few cards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.checkpoint.fingerprint import fingerprint
from weightsmith.fits.asks import asks_of
from weightsmith.fits.caches import decoder_of, pooled
from weightsmith.fits.loads import Reason, by_plugin, loading
from weightsmith.fits.settings import settings_of
from weightsmith.fits.states import sharing_of
from weightsmith.fits.target import GIB
from weightsmith.fits.weights import weights_of
from weightsmith.schemes import plain_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.documents import FitsDocument
    from weightsmith.fits.asks import Asks
    from weightsmith.fits.caches import Cache, Decoder, Pool
    from weightsmith.fits.settings import Settings
    from weightsmith.fits.states import Sharing
    from weightsmith.fits.target import Target
    from weightsmith.fits.weights import Weights
    from weightsmith.json_value import JsonObject
    from weightsmith.shapes import Inference

Verdict: TypeAlias = Literal["fits", "does-not-fit", "unknown"]
_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "int8": 1}
# What an engine takes beside weights and cache: workspaces, captured graphs, the activations of one step. Two logs from
# a 910B leave 0.64 GiB (BitCPM4-1B) and 0.89 GiB (Mem-Agent) for it. A margin, and no measurement of this model.
MARGIN = 1 << 30
# Tokens that are computed in one step, unless told otherwise (vLLM, `max_num_batched_tokens` of a server).
_BATCHED = 8192
# Numbers of cards that are tried beside the one that is asked for.
_CARDS = (*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 48, 64)
_POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "model_max_length",
)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes and tokens on one card.

    kv_memory: free for the cache; None: the card's memory is not known, and neither is what depends on it.
    context: tokens of one sequence, as asked for or as many as the model reaches; None: not known.
    blocks, kv_tokens: what the cache holds. longest: tokens of one sequence alone. concurrency: contexts at a time.
    """

    weights: int
    kv_bytes_per_token: int
    kv_memory: int | None
    context: int | None
    blocks: int | None = None
    kv_tokens: int | None = None
    longest: int | None = None
    concurrency: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """by_cards: (cards, what each of them holds), wherever the model can be divided among as many. wanted: sequences at
    a time. parameters: of the plain weights. notes: what was assumed."""

    checkpoint: Checkpoint
    target: Target
    reasons: tuple[Reason, ...]
    memory: Memory
    by_cards: tuple[tuple[int, Memory], ...]
    wanted: int
    parameters: int
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        if any(reason.weight != "open" for reason in self.reasons):
            return "does-not-fit"
        return "unknown" if self.reasons else "fits"

    @property
    def min_cards(self) -> int | None:
        """The fewest cards on which the contexts fit; None: none of those tried, or it is not known."""
        enough = (
            cards for cards, memory in self.by_cards if (memory.concurrency or 0.0) >= max(1, self.wanted)
        )
        return next(enough, None)

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of what was read."""
        return fingerprint(self.checkpoint)

    def document(self) -> FitsDocument:
        """The JSON of the command line's contract."""
        target, memory = self.target, self.memory
        return {
            "command": "fits",
            "checkpoint": self.checkpoint.summary(),
            "target": {
                "engine": str(target.engine),
                "transformers": target.engine.transformers.version,
                "chip": target.chip.name,
                "cards": target.cards,
                "memory_per_card": target.chip.memory or None,
            },
            "verdict": self.verdict,
            "reasons": [
                {"code": one.code, "message": one.message, "weight": one.weight} for one in self.reasons
            ],
            "notes": list(self.notes),
            "weights_bytes_per_card": memory.weights,
            "kv_bytes_per_token": memory.kv_bytes_per_token,
            "kv_memory_per_card": memory.kv_memory,
            "kv_tokens": memory.kv_tokens,
            "max_context": memory.longest,
            "context": memory.context,
            "concurrency": memory.concurrency,
            "min_cards": self.min_cards,
            "by_cards": [
                {
                    "cards": cards,
                    "weights_bytes_per_card": memory.weights,
                    "kv_tokens": memory.kv_tokens,
                    "max_context": memory.longest,
                    "concurrency": memory.concurrency,
                }
                for cards, memory in self.by_cards
            ],
        }


def answer(
    checkpoint: Checkpoint, config: JsonObject | None, inference: Inference, target: Target, wanted: int
) -> Answer:
    """config: the file that the engine reads; None: there is none. wanted: sequences at a time.

    Raises InvalidConfig for a description of the quantization that cannot be read.
    """
    model = _model(checkpoint, config, inference, target)
    cache, memory = _on(model, target)
    reasons = (
        *_config_reasons(config, inference),
        *loading(model.asks, target),
        *state_reasons(cache, _sharing(model, target), target),
        *_memory_reasons(memory, cache, target, wanted),
    )
    counts = (count for count in _CARDS if _divides(model.asks, target, count))
    by_cards = tuple((count, _on(model, _with_cards(target, count))[1]) for count in counts)
    return Answer(
        checkpoint,
        target,
        reasons,
        memory,
        by_cards,
        wanted,
        model.parameters,
        tuple(_notes(model.asks, target, config)),
    )


@dataclass(frozen=True, slots=True)
class _Model:
    """What is the same on any number of cards. longest: tokens that its positions reach. width: bytes of a float.
    states: those of a state, of its convolution and of the rest. chunk: tokens that its kernels work on at a time.
    parameters: of the plain weights.
    """

    asks: Asks
    weights: Weights
    decoder: Decoder
    longest: int | None
    width: int
    states: tuple[int, int]
    chunk: int | None
    parameters: int


def _model(checkpoint: Checkpoint, config: JsonObject | None, inference: Inference, target: Target) -> _Model:
    settings, view = settings_of(inference), plain_view(checkpoint)
    read = config if config is not None else inference.config
    packed = frozenset(module.name for module in view.modules)
    asks = asks_of(read, checkpoint.root, settings, view.packed_as, packed)
    width = _WIDTHS.get(target.arguments.dtype or asks.dtype, 2)
    tied = settings.get("tie_word_embeddings") is True
    decoder, longest = decoder_of(view.tensors, settings), settings.number(*_POSITIONS)
    layers = settings.number("num_hidden_layers", "n_layer", "num_layers", "n_layers") or decoder.count
    weights = weights_of(checkpoint.tensors.values(), packed, width, decoder.stack, layers, tied=tied)
    states = state_widths(asks, settings, target, width)
    chunk = settings.number("mamba_chunk_size", "chunk_size")
    return _Model(asks, weights, decoder, longest, width, states, chunk, view.elements)


def state_widths(asks: Asks, settings: Settings, target: Target, width: int) -> tuple[int, int]:
    """What the config or the engine's arguments say that states are held in, where it is not the model's dtype."""
    convolved = _WIDTHS.get(target.arguments.state_dtype or "", width)
    rules = [
        target.engine.states.dtypes[name]
        for name in asks.architectures
        if name in target.engine.states.dtypes
    ]
    said = [settings.get(name) or default for name, default in rules]
    recurrent = target.arguments.recurrent_dtype or next((str(one) for one in said if one), "")
    return convolved, _WIDTHS.get(recurrent.removeprefix("torch."), convolved)


def _on(model: _Model, target: Target) -> tuple[Cache, Memory]:
    """What each card holds, the model divided as the target says."""
    arguments, division = target.arguments, target.division
    cache = model.decoder.on(division, _WIDTHS.get(arguments.kv_dtype or "", model.width), model.states)
    weights = model.weights.on(division)
    free = target.kv_memory
    if free is None and target.chip.memory:
        free = int(target.chip.memory * target.memory_share) - weights - MARGIN
    memory = Memory(weights, cache.bytes_per_token, free, arguments.context or model.longest)
    pool = pooled(cache, _sharing(model, target))
    return cache, _with_pool(memory, pool, arguments.batched_tokens or _BATCHED)


def _sharing(model: _Model, target: Target) -> Sharing:
    return sharing_of(target, model.asks.architectures, model.decoder, model.chunk)


def _with_pool(memory: Memory, pool: Pool | None, batched: int) -> Memory:
    """How many tokens the cache holds. A sequence of tokens costs less where a window is, the longer it is."""
    if pool is None or memory.kv_memory is None:
        return memory
    free = max(0, memory.kv_memory)
    longest, blocks = pool.longest(free, batched), pool.blocks(free)
    context = memory.context or longest
    needed = pool.blocks_for(context or 0, batched)
    concurrency = blocks / needed if needed else 0.0
    # With windows contexts are counted, as vLLM 0.32 does it; without, every block is a context's.
    tokens = blocks * pool.tokens_per_block if pool.by_tokens else int(concurrency * (context or 0))
    return replace(
        memory, context=context, blocks=blocks, kv_tokens=tokens, longest=longest, concurrency=concurrency
    )


def _config_reasons(config: JsonObject | None, inference: Inference) -> Iterator[Reason]:
    """What the weights say of the config that the engine will read."""
    if config is None:
        yield Reason(
            "no-config", "there is no config.json; `weightsmith infer-config --write` derives one", "refused"
        )
        return
    for problem in inference.stopping:
        yield Reason(problem.code, problem.message, "refused")
    if inference.verdict == "unknown":
        failure = inference.failure()
        yield Reason("unknown-family", failure.fact if failure else "no family explains the tensors", "open")
    elif inference.verdict == "differs":
        told = [
            f"{row.name} is {row.derived}, not {row.configured}"
            for row in inference.fields
            if row.contradicted
        ]
        more = f" and {len(told) - 3} more" if len(told) > 3 else ""
        message = f"config.json is not true of the weights: {'; '.join(told[:3])}{more}"
        yield Reason("config-differs", f"{message}; `weightsmith infer-config --write` mends it", "refused")


def state_reasons(cache: Cache, sharing: Sharing, target: Target) -> Iterator[Reason]:
    """What stands between an engine and layers that keep a state beside others that keep keys and values."""
    if not cache.stateful or not cache.layers:
        return
    if sharing.multiple is None:
        message = f"how large {target.engine} makes blocks that hold keys and states is not known"
        yield Reason("cache-unknown", message, "open")
    elif sharing.misfit(cache.token, cache.state):
        message = (
            f"{target.engine} wants blocks whose keys take as much as a state, {max(cache.state):,} bytes, and no "
            f"multiple of {sharing.multiple} tokens with {cache.token // 2:,} bytes of keys does"
        )
        yield Reason("states-misfit", message, "refused")


def _memory_reasons(memory: Memory, cache: Cache, target: Target, wanted: int) -> Iterator[Reason]:
    if cache.unknown is not None:
        yield Reason("cache-unknown", cache.unknown, "open")
    if memory.kv_memory is None:
        yield Reason(
            "memory-unknown", f"the memory of {target.chip.name} is not known; say --kv-memory", "open"
        )
    elif memory.kv_memory <= 0:
        share = f"{target.memory_share:g} of {target.chip.memory / GIB:.1f} GiB"
        message = f"weights of {memory.weights / GIB:.1f} GiB leave nothing of {share} for the cache"
        yield Reason("weights-too-large", message, "refused")
    elif memory.concurrency is not None and memory.concurrency < 1:
        message = f"the cache holds {memory.longest:,} tokens, not the {memory.context:,} of one context"
        yield Reason("context-too-long", f"{message}; --max-model-len {memory.longest} does", "refused")
    elif memory.concurrency is not None and memory.concurrency < wanted:
        message = (
            f"the cache holds {memory.concurrency:.1f} contexts of {memory.context:,} tokens, not {wanted}"
        )
        yield Reason("concurrency-too-high", message, "refused")


def _divides(asks: Asks, target: Target, count: int) -> bool:
    return all(reason.code != "tensor-parallel" for reason in loading(asks, _with_cards(target, count)))


def _with_cards(target: Target, count: int) -> Target:
    return replace(target, arguments=replace(target.arguments, tensor_parallel=count))


def _notes(asks: Asks, target: Target, config: JsonObject | None) -> Iterator[str]:
    """What was assumed and what was not looked at."""
    if target.kv_memory is None and target.chip.memory:
        yield (
            f"free for the cache: {target.memory_share:g} of {target.chip.memory / GIB:.1f} GiB, less the weights and "
            f"{MARGIN / GIB:.0f} GiB for workspaces, graphs and activations (an estimate; --kv-memory states it)"
        )
    if by_plugin(asks, target):
        yield f"{target.engine} has this model where weightsmith is installed beside it"
    if target.arguments.unread:
        yield f"not looked at: {', '.join(target.arguments.unread)}"
    if config is None:
        yield "answered for the config that infer-config derives"
