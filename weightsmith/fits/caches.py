"""The KV cache: what each layer of the decoder keeps of a token, told by its own projections, and how blocks hold it.

Sizes are those of one card. Blocks are counted as vLLM counts them (v1/core/kv_cache_utils.py): every block has the
same size, and layers that keep everything draw from one pool with those that keep the last W tokens.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from weightsmith.fits.division import stage_of
from weightsmith.fits.settings import kv_heads
from weightsmith.fits.states import state_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint import Tensor
    from weightsmith.fits.division import Division
    from weightsmith.fits.settings import Settings
    from weightsmith.fits.states import Sharing, State

_LAYER = re.compile(r"(.*?)\.(\d+)\.(.+)")
# Parts of a model whose layers keep nothing between tokens, and drafts that serve only speculation.
_OTHER_STACKS = re.compile(
    r"vis|image|audio|speech|encoder|talker|code2wav|code_predictor|mtp|draft|patch|perceiver"
)
_JOINED = re.compile(r"\w*qkv\w*|query_key_value|c_attn|W_pack", re.IGNORECASE)
_OUTPUTS = ("o_proj", "dense", "out_proj", "c_proj", "wo", "attn_out", "proj")
_KEYS, _VALUES = ("k_proj", "key", "wk", "k", "key_proj"), ("v_proj", "value", "wv", "v", "value_proj")
_LATENT = ("kv_a_proj_with_mqa", "kv_a_proj")
_LINEAR = "linear_attention"
_ATTENDING = ("full_attention", "attention", "hybrid")
_SLIDING = ("sliding_attention", "sliding_window", "local", "local_attention")


@dataclass(frozen=True, slots=True)
class LayerCache:
    """One layer. size: bytes for each token. window: tokens that are kept; 0: all. stage: of the pipeline."""

    size: int
    window: int = 0
    stage: int = 0


@dataclass(frozen=True, slots=True)
class Cache:
    """All layers on one card of each stage. state: bytes of what a layer with a state keeps of a sequence, of its
    convolution and of the rest. stateful: the stage of each of these layers. unknown: why the size of some is not
    known.
    """

    layers: tuple[LayerCache, ...]
    state: tuple[int, int] = (0, 0)
    stateful: tuple[int, ...] = ()
    unknown: str | None = None

    @property
    def bytes_per_token(self) -> int:
        """Of a context that is longer than every window."""
        return sum(layer.size for layer in self.layers if not layer.window)

    @property
    def token(self) -> int:
        """Bytes of a token in the layer that takes most."""
        return max((layer.size for layer in self.layers), default=0)


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a table of blocks. window: tokens that they keep; 0: all. states: blocks that a sequence takes
    in it, however long it is; 0: as many as its tokens fill.
    """

    window: int = 0
    states: int = 0

    def blocks_for(self, tokens: int, block: int, batched: int) -> int:
        """With a window: what the next step looks back at, and one block that it begins in."""
        if self.states:
            return self.states
        if self.window:
            return ceil(min(self.window - 1 + batched, tokens) / block) + 1
        return ceil(tokens / block)


@dataclass(frozen=True, slots=True)
class Pool:
    """Blocks of one size."""

    bytes_per_block: int
    tokens_per_block: int
    groups: tuple[Group, ...]

    @property
    def by_tokens(self) -> bool:
        """Whether every block holds as many tokens of one sequence, which all stay."""
        return self.groups == (Group(),)

    def blocks(self, memory: int) -> int:
        return memory // self.bytes_per_block

    def blocks_for(self, tokens: int, batched: int) -> int:
        """How many one sequence of so many tokens takes. batched: tokens that are computed in one step."""
        return sum(group.blocks_for(tokens, self.tokens_per_block, batched) for group in self.groups)

    def longest(self, memory: int, batched: int) -> int | None:
        """Tokens of the longest sequence that fits alone; None: the cache sets no limit."""
        if all(group.states for group in self.groups):
            return None
        blocks, low, high = self.blocks(memory), 0, 1
        while self.blocks_for(high, batched) <= blocks and high < 1 << 40:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.blocks_for(middle, batched) <= blocks else (low, middle)
        return low


def pooled(cache: Cache, sharing: Sharing) -> Pool | None:
    """How the layers share blocks; None where no layer keeps anything, or it is not known.

    A block is as large as on the stage that has most: all stages have as many of them.
    """
    if not cache.layers:
        return _of_states(cache, sharing)
    if cache.stateful and sharing.multiple is None:
        return None
    block, page = sharing.block, cache.token * sharing.block
    if cache.stateful:
        block, page = sharing.grown(cache.token, cache.state)
    kinds: dict[tuple[int, int], list[int]] = defaultdict(list)
    for layer in cache.layers:
        kinds[layer.window, layer.size * block].append(layer.stage)
    windows = {window for window, _ in kinds}
    if len(windows) == 1 and not cache.stateful:
        # One table of blocks for all of them, whatever each layer keeps of a token.
        sizes = Counter[int]()
        for (_, size), stages in kinds.items():
            for stage in stages:
                sizes[stage] += size
        return Pool(max(sizes.values()), block, tuple(map(Group, windows)))
    # Layers with smaller pages get larger blocks, so that all pages are one size: they count as fewer tables.
    tables = [(Group(window), stages) for (window, _), stages in sorted(kinds.items())]
    if cache.stateful:
        tables.append((Group(states=sharing.states), list(cache.stateful)))
    return _of_tables(tables, page, block)


def _of_tables(tables: Sequence[tuple[Group, Sequence[int]]], page: int, block: int) -> Pool:
    """Layers of one kind are dealt out to as many groups as it takes for all groups to have as many."""
    size = _group_size([len(stages) for _, stages in tables])
    groups: list[Group] = []
    most = 0
    for group, stages in tables:
        dealt = ceil(len(stages) / size)
        groups += [group] * dealt
        for first in range(dealt):
            most = max(most, *Counter(stages[first::dealt]).values())
    return Pool(page * most, block, tuple(groups))


def _of_states(cache: Cache, sharing: Sharing) -> Pool | None:
    """Where no layer attends, a block is a state of every layer."""
    if not cache.stateful:
        return None
    most = max(Counter(cache.stateful).values())
    return Pool(sum(cache.state) * most, sharing.block, (Group(states=sharing.states or 1),))


def _group_size(counts: Sequence[int]) -> int:
    """Layers in a group: the fewest of a kind, or the most where that wastes less (`_get_kv_cache_groups_…`)."""
    return max(counts) if max(counts) < min(counts) * 1.5 else min(counts)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a layer keeps of a token. numbers: of all heads. latent: one that all heads share, and no card divides.

    index: the layer's number.
    """

    numbers: int
    latent: bool
    window: int
    index: int


@dataclass(frozen=True, slots=True)
class Decoder:
    """The layers that keep something, each as often as a token passes it. heads: of keys and values. stateful: numbers
    of those that keep a state of a sequence. stack: what stands before the numbers of layers in the names of tensors.
    count: how many layers there are. unknown: why it is not known what they keep.
    """

    layers: tuple[Kept, ...]
    heads: int | None
    state: State | None = None
    stateful: tuple[int, ...] = ()
    stack: str = ""
    count: int = 0
    unknown: str | None = None

    def on(self, division: Division, width: int, states: tuple[int, int]) -> Cache:
        """On each of these cards. width: bytes of a number. states: those of a state, of its convolution first."""
        sizes = (
            LayerCache(
                self._share(layer, division.cards) * width, layer.window, self._stage(layer.index, division)
            )
            for layer in self.layers
        )
        state = (0, 0) if self.state is None else self.state.on(division.cards, *states)
        stateful = tuple(self._stage(index, division) for index in self.stateful)
        return Cache(tuple(sizes), state, stateful, self.unknown)

    @property
    def latent(self) -> bool:
        """Whether keys and values are one latent."""
        return any(layer.latent for layer in self.layers)

    def _stage(self, index: int, division: Division) -> int:
        return stage_of(index, self.count, division.stages)

    def _share(self, layer: Kept, cards: int) -> int:
        """KV heads are divided among the cards, and copied where there are more cards than heads."""
        if layer.latent:
            return layer.numbers
        if self.heads is None or layer.numbers % self.heads:
            return ceil(layer.numbers / cards)
        return layer.numbers // self.heads * max(1, self.heads // cards)


def decoder_of(tensors: Mapping[str, Tensor], settings: Settings) -> Decoder:
    """tensors: the plain ones."""
    (stack, layers), heads = _decoder(tensors, settings), kv_heads(settings)
    if not layers:
        return Decoder((), heads, unknown="no decoder layer is recognised by the names of its tensors")
    count = max(layers) + 1
    nothing = Decoder((), heads, stack=stack, count=count)
    kinds, state = settings.kinds(count), state_of(settings)
    found: list[Kept] = []
    stateful: list[int] = []
    for index, parts in sorted(layers.items()):
        kind = kinds[index] if index < len(kinds) else ""
        own, rest = _apart(parts, kind)
        if own is not None:
            stateful.append(index)
            why = _contradiction(own, state)
            if why is not None:
                return replace(nothing, unknown=f"layer {index} keeps a state: {why}")
        kept = _kept_numbers(rest, settings)
        if kept is not None:
            found.append(Kept(*kept, _window(settings, kinds, index), index))
        elif kind in _ATTENDING:
            return replace(
                nothing, unknown=f"layer {index} is of the kind {kind}, and has no attention of its own"
            )
    times = _passes(settings)
    kept_layers = tuple(layer for layer in found for _ in range(times))
    return replace(nothing, layers=kept_layers, state=state if stateful else None, stateful=tuple(stateful))


def _apart(
    parts: Mapping[str, Tensor], kind: str
) -> tuple[Mapping[str, Tensor] | None, Mapping[str, Tensor]]:
    """(the tensors of the module that keeps a state, None where no module does; those of all others)."""
    owners = {name.partition(".")[0] for name, tensor in parts.items() if _is_of_a_state(name, tensor)}
    if not owners and kind == _LINEAR:
        return parts, {}
    own = {name: tensor for name, tensor in parts.items() if name.partition(".")[0] in owners}
    rest = {name: tensor for name, tensor in parts.items() if name not in own}
    return (own, rest) if owners else (None, parts)


def _is_of_a_state(name: str, tensor: Tensor) -> bool:
    return name.rpartition(".")[2] in {"A_log", "dt_bias"} or _is_convolution(name, tensor)


def _is_convolution(name: str, tensor: Tensor) -> bool:
    """Of each channel by itself, over the last steps."""
    return "conv" in name and name.endswith(".weight") and len(tensor.shape) == 3 and 1 in tensor.shape[1:]


def _contradiction(own: Mapping[str, Tensor], state: State | None) -> str | None:
    """Why the size of a state is not known."""
    if state is None:
        return "the config does not say how large"
    channels = sum(tensor.shape[0] for name, tensor in own.items() if _is_convolution(name, tensor))
    if channels == state.convolved:
        return None
    return f"its convolution has {channels:,} channels, and by the config it has {state.convolved:,}"


def _decoder(
    tensors: Mapping[str, Tensor], settings: Settings
) -> tuple[str, Mapping[int, Mapping[str, Tensor]]]:
    """The layers of the language model: what stands before their numbers, and by number what stands behind it."""
    stacks: dict[str, dict[int, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
    for name, tensor in tensors.items():
        if (found := _LAYER.fullmatch(name)) and not _OTHER_STACKS.search(found[1]):
            stacks[found[1]][int(found[2])][found[3]] = tensor
    attending = {
        name: stack
        for name, stack in stacks.items()
        if any(_keeps(parts, settings) for parts in stack.values())
    }
    if not attending:
        return "", {}
    count = settings.number("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    return max(attending.items(), key=lambda stack: (len(stack[1]) == count, len(stack[1])))


def _keeps(parts: Mapping[str, Tensor], settings: Settings) -> bool:
    return _kept_numbers(parts, settings) is not None or any(_is_of_a_state(*one) for one in parts.items())


def _kept_numbers(parts: Mapping[str, Tensor], settings: Settings) -> tuple[int, bool] | None:
    """(numbers that the layer keeps of a token, whether they are one latent that all heads share)."""
    rows = {
        name.split(".")[-2]: tensor
        for name, tensor in parts.items()
        if name.endswith(".weight") and "." in name
    }
    latent = _first(rows, _LATENT)
    if latent is not None:
        return latent.shape[0], True
    keys, values = _first(rows, _KEYS), _first(rows, _VALUES)
    if keys is not None and len(keys.shape) == 2:
        return keys.shape[0] + (values or keys).shape[0], False
    joined, output = (
        next((rows[name] for name in rows if _JOINED.fullmatch(name)), None),
        _first(rows, _OUTPUTS),
    )
    if joined is None or output is None or len(joined.shape) != 2 or len(output.shape) != 2:
        return None
    heads, width = kv_heads(settings), _head_width(settings)
    if heads and width and 2 * heads * width < max(joined.shape):
        # There may be more in it than queries, keys and values: HRM-Text's gates.
        return 2 * heads * width, False
    # The larger side of the joined projection is its output; queries are as wide as what the output projection takes.
    queries = output.shape[1] if joined.shape[0] >= joined.shape[1] else output.shape[0]
    kept = max(joined.shape) - queries
    return (kept, False) if kept > 0 else None


def _head_width(settings: Settings) -> int | None:
    """Channels of one head (vLLM, `get_head_size`)."""
    stated = settings.number("head_dim", "hidden_size_per_head")
    heads, hidden = (
        settings.number("num_attention_heads", "n_head", "n_heads"),
        settings.number("hidden_size", "n_embd"),
    )
    return stated or (hidden // heads if heads and hidden else None)


def _first(rows: Mapping[str, Tensor], names: Sequence[str]) -> Tensor | None:
    return next((rows[name] for name in names if name in rows), None)


def _window(settings: Settings, kinds: Sequence[str], index: int) -> int:
    """Tokens that this layer looks back at; 0: all. A config that names no kinds of layers has one for all of them."""
    size = settings.number("sliding_window", "attention_window_size") or 0
    if kinds:
        return size if index < len(kinds) and kinds[index] in _SLIDING else 0
    return size if settings.get("use_sliding_window") is not False else 0


def _passes(settings: Settings) -> int:
    """How often a sequence runs through the same layers, with keys and values of its own each time (HRM-Text)."""
    high, low = settings.number("H_cycles"), settings.number("L_cycles")
    return 1 if not high or not low else high * (low + 1)
