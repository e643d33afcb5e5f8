"""The KV cache: what each layer of the decoder keeps of a token, told by its own projections, and how blocks hold it.

Sizes are those of one card. Blocks are counted as vLLM counts them (v1/core/kv_cache_utils.py): every block has the
same size, and layers that keep everything draw from one pool with those that keep the last W tokens.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from weightsmith.fits.settings import kv_heads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.checkpoint import Tensor
    from weightsmith.fits.settings import Settings

_LAYER = re.compile(r"(.*?)\.(\d+)\.(.+)")
# Parts of a model whose layers keep nothing between tokens, and drafts that serve only speculation.
_OTHER_STACKS = re.compile(
    r"vis|image|audio|speech|encoder|talker|code2wav|code_predictor|mtp|draft|patch|perceiver"
)
_JOINED = re.compile(r"\w*qkv\w*|query_key_value|c_attn|W_pack", re.IGNORECASE)
_OUTPUTS = ("o_proj", "dense", "out_proj", "c_proj", "wo", "attn_out", "proj")
_KEYS, _VALUES = ("k_proj", "key", "wk", "k", "key_proj"), ("v_proj", "value", "wv", "v", "value_proj")
_LATENT = ("kv_a_proj_with_mqa", "kv_a_proj")
_SLIDING = ("sliding_attention", "sliding_window", "local", "local_attention")


@dataclass(frozen=True, slots=True)
class LayerCache:
    """One layer. size: bytes for each token. window: tokens that are kept; 0: all."""

    size: int
    window: int = 0


@dataclass(frozen=True, slots=True)
class Cache:
    """All layers on one card. unknown: why the size of some is not known."""

    layers: tuple[LayerCache, ...]
    unknown: str | None = None

    @property
    def bytes_per_token(self) -> int:
        """Of a context that is longer than every window."""
        return sum(layer.size for layer in self.layers if not layer.window)


@dataclass(frozen=True, slots=True)
class Pool:
    """Blocks of one size. groups: for each group of layers that share a table of blocks, its window (0: all tokens)."""

    bytes_per_block: int
    tokens_per_block: int
    groups: tuple[int, ...]

    def blocks(self, memory: int) -> int:
        return memory // self.bytes_per_block

    def blocks_for(self, tokens: int, batched: int) -> int:
        """How many one sequence of so many tokens takes. batched: tokens that are computed in one step.

        A group with a window keeps the tokens that the next step looks back at, and one block that it begins in.
        """
        needed = 0
        for window in self.groups:
            kept = min(window - 1 + batched, tokens) if window else tokens
            needed += ceil(kept / self.tokens_per_block) + (1 if window else 0)
        return needed

    def longest(self, memory: int, batched: int) -> int:
        """Tokens of the longest sequence that fits alone."""
        blocks, low, high = self.blocks(memory), 0, 1
        while self.blocks_for(high, batched) <= blocks and high < 1 << 40:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.blocks_for(middle, batched) <= blocks else (low, middle)
        return low


def pooled(cache: Cache, block: int) -> Pool | None:
    """How the layers share blocks of so many tokens; None where no layer keeps anything for each token."""
    pages = Counter((layer.window, layer.size * block) for layer in cache.layers)
    if not pages:
        return None
    windows = {window for window, _ in pages}
    if len(windows) == 1:
        # One table of blocks for all of them, whatever each layer keeps of a token.
        return Pool(sum(page * count for (_, page), count in pages.items()), block, tuple(windows))
    page = max(page for _, page in pages)
    # Layers with smaller pages get larger blocks, so that all pages are one size: they count as fewer tables.
    counts = [(window, count) for (window, _), count in sorted(pages.items())]
    size = _group_size([count for _, count in counts])
    groups = [window for window, count in counts for _ in range(ceil(count / size))]
    return Pool(page * size, block, tuple(groups))


def _group_size(counts: Sequence[int]) -> int:
    """Layers in a group: the fewest of a kind, or the most where that wastes less (`_get_kv_cache_groups_…`)."""
    return max(counts) if max(counts) < min(counts) * 1.5 else min(counts)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one layer keeps of a token. numbers: of all heads. latent: one that all heads share, and no card divides."""

    numbers: int
    latent: bool
    window: int


@dataclass(frozen=True, slots=True)
class Decoder:
    """The layers that keep something of a token, each as often as a token passes it. heads: of keys and values.

    unknown: why that is not known.
    """

    layers: tuple[Kept, ...]
    heads: int | None
    unknown: str | None = None

    def on(self, cards: int, width: int) -> Cache:
        """On each of so many cards. width: bytes of a number."""
        sizes = (LayerCache(self._share(layer, cards) * width, layer.window) for layer in self.layers)
        return Cache(tuple(sizes), self.unknown)

    def _share(self, layer: Kept, cards: int) -> int:
        """KV heads are divided among the cards, and copied where there are more cards than heads."""
        if layer.latent:
            return layer.numbers
        if self.heads is None or layer.numbers % self.heads:
            return ceil(layer.numbers / cards)
        return layer.numbers // self.heads * max(1, self.heads // cards)


def decoder_of(tensors: Mapping[str, Tensor], settings: Settings) -> Decoder:
    """tensors: the plain ones."""
    layers, heads = _decoder(tensors, settings), kv_heads(settings)
    if not layers:
        return Decoder((), heads, "no decoder layer is recognised by the names of its tensors")
    kinds = settings.kinds(max(layers) + 1)
    found: list[Kept] = []
    for index, parts in sorted(layers.items()):
        if _keeps_state(parts):
            why = f"layer {index} keeps a state, and no keys and values: how they share blocks is not known"
            return Decoder((), heads, why)
        kept = _kept_numbers(parts, settings)
        if kept is not None:
            found.append(Kept(*kept, _window(settings, kinds, index)))
    times = _passes(settings)
    return Decoder(tuple(layer for layer in found for _ in range(times)), heads)


def _decoder(tensors: Mapping[str, Tensor], settings: Settings) -> dict[int, dict[str, Tensor]]:
    """The layers of the language model by number: of each, what stands behind the number."""
    stacks: dict[str, dict[int, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
    for name, tensor in tensors.items():
        if (found := _LAYER.fullmatch(name)) and not _OTHER_STACKS.search(found[1]):
            stacks[found[1]][int(found[2])][found[3]] = tensor
    attending = {
        name: stack
        for name, stack in stacks.items()
        if any(_kept_numbers(parts, settings) for parts in stack.values())
    }
    if not attending:
        return {}
    count = settings.number("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    return max(attending.values(), key=lambda stack: (len(stack) == count, len(stack)))


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


def _keeps_state(parts: Iterable[str]) -> bool:
    return any(name.rpartition(".")[2] in {"A_log", "dt_bias"} or "conv1d" in name for name in parts)


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
