"""The state that a layer of linear attention, a Mamba layer or a short convolution keeps of a sequence, however long.

Sizes are vLLM's (model_executor/layers/mamba/mamba_utils.py): the last inputs of a convolution, and numbers for each
channel that the layer puts out. An engine keeps them in the blocks of the KV cache: their pages are made equal to those
of attention, whose blocks grow until they are as large.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, lcm
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.fits.caches import Decoder
    from weightsmith.fits.settings import Settings
    from weightsmith.fits.target import Target

# none: one state of a sequence. align: one for each block of tokens, two of them held. all: one for each block.
Mode: TypeAlias = Literal["none", "align", "all"]

_KERNEL = ("linear_conv_kernel_dim", "mamba_d_conv", "conv_kernel", "conv_L_cache")
_NUMBERS = ("mamba_d_state", "ssm_state_size", "state_size")
_GROUPS = ("mamba_n_groups", "mamba_ngroups", "n_groups")
_HEADS = ("mamba_n_heads", "mamba_num_heads", "n_mamba_heads")
_HEAD_WIDTH = ("mamba_d_head", "mamba_head_dim", "mamba_headdim", "hidden_size_per_head")
# Tokens by which blocks grow: on an NPU, and where no backend says more.
_ON_ASCEND, _SMALLEST = 128, 16
# No model has more.
_LAYERS = 512
# Without one of its own a Mamba kernel works on so many tokens at a time (vLLM, `get_mamba_chunk_size`).
_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class State:
    """What one layer keeps of a sequence.

    channels: that the layer puts out, of all heads. numbers: for each of them; 0: the layer is a convolution alone.
    groups: of so many shared channels the convolution has two each (keys and queries, B and C), numbers wide. copied:
    where cards are no divisor of the groups, each gets what its heads need. steps: that the convolution looks back.
    single: the numbers are float32, whatever the layer computes in.
    """

    channels: int
    numbers: int
    groups: int
    steps: int
    copied: bool = False
    single: bool = False

    @property
    def convolved(self) -> int:
        """Channels of the convolution; 0: there is none."""
        return self.channels + 2 * self.groups * self.numbers if self.steps else 0

    def on(self, cards: int, width: int, recurrent: int) -> tuple[int, int]:
        """Bytes on each of so many cards, of the convolution and of the rest. width, recurrent: bytes of a number."""
        groups = self.groups
        if self.copied and groups % cards:
            groups += cards - groups
        convolved = self.channels + 2 * groups * self.numbers
        numbers = self.channels * self.numbers
        return (
            ceil(convolved * self.steps / cards) * width,
            ceil(numbers / cards) * (4 if self.single else recurrent),
        )


def state_of(settings: Settings) -> State | None:
    """What those layers of a model keep that keep a state; None where its settings do not say it."""
    steps = (settings.number(*_KERNEL) or 1) - 1
    linear = settings.number("linear_key_head_dim")
    if linear:
        return _delta_net(settings, linear, steps)
    if settings.get("linear_attn_config") is not None:
        return _kimi(settings)
    numbers = settings.number(*_NUMBERS)
    if numbers and steps:
        return _mamba(settings, numbers, steps)
    if settings.number("conv_L_cache"):
        wide = settings.number("conv_dim", "hidden_size")
        return State(wide, 0, 0, steps) if wide else None
    if "linear_attention" in settings.kinds(_LAYERS):
        return _lightning(settings)
    return None


def _delta_net(settings: Settings, numbers: int, steps: int) -> State | None:
    """Qwen3-Next, Qwen3.5, Olmo-Hybrid: a matrix of keys by values for each head."""
    heads, width = settings.number("linear_num_value_heads"), settings.number("linear_value_head_dim")
    groups = settings.number("linear_num_key_heads")
    return State(heads * width, numbers, groups, steps) if heads and width and groups else None


def _kimi(settings: Settings) -> State | None:
    names = ("num_heads", "head_dim", "short_conv_kernel_size")
    heads, width, kernel = (settings.number(f"linear_attn_config.{name}") for name in names)
    return State(heads * width, width, heads, kernel - 1, single=True) if heads and width and kernel else None


def _mamba(settings: Settings, numbers: int, steps: int) -> State | None:
    """With heads it is Mamba 2, whose groups share B and C; without, every channel is alone."""
    heads, width = settings.number(*_HEADS), settings.number(*_HEAD_WIDTH)
    expand, hidden = settings.get("mamba_expand", "expand"), settings.number("hidden_size")
    channels = settings.number("mamba_d_ssm")
    if channels is None and heads and width:
        channels = heads * width
    if channels is None and isinstance(expand, int | float) and hidden:
        channels = int(expand * hidden)
    groups = settings.number(*_GROUPS)
    if groups is None and heads is None and settings.number("num_heads") is None:
        # Mamba 1 says the width itself, of which `expand` is the origin.
        alone = channels if settings.get("mamba_expand") else settings.number("intermediate_size")
        return State(alone, numbers, 0, steps) if alone else None
    return State(channels, numbers, groups, steps, copied=True) if channels and groups is not None else None


def _lightning(settings: Settings) -> State | None:
    """MiniMax: a square matrix for each head, and no convolution."""
    heads, width = settings.number("num_attention_heads"), settings.number("head_dim")
    return State(heads * width, width, 0, 0) if heads and width else None


@dataclass(frozen=True, slots=True)
class Sharing:
    """How an engine shares blocks between attention and states.

    block: tokens in a block, unless states make it larger. multiple: it grows by so many; None: nobody tells, since
    this version does not, or since it is the backend's choice where keys and values are one latent.
    mode, chunk: see `Mode`; what a kernel works on at a time. checkpoints: blocks beside those of the mode "align".
    filled: the keys of a block must be exactly as large as the recurrent part of a state.
    """

    block: int
    multiple: int | None
    mode: Mode = "none"
    chunk: int = _CHUNK
    filled: bool = False
    checkpoints: int = 0

    @property
    def states(self) -> int:
        """Blocks of states that a sequence holds, however long it is; 0: one for each block of its tokens."""
        return {"none": 1, "align": 2 + self.checkpoints, "all": 0}[self.mode]

    def grown(self, token: int, state: tuple[int, int]) -> tuple[int, int]:
        """(tokens in a block, bytes of a page) where a token takes so many bytes and a state its two parts."""
        convolved, recurrent = state
        multiple = self.multiple or 1
        if self.filled:
            smaller, larger = sorted(state) if recurrent else (convolved, convolved)
            block = max(self.block, self._filling(token, larger))
            return block, block * token + smaller
        if self.mode == "all":
            chunk = lcm(self.chunk, multiple)
            block = chunk * ceil(ceil(sum(state) / token) / chunk)
        else:
            block = multiple * ceil(sum(state) / (multiple * token))
        block = max(self.block, block)
        return block, block * token

    def misfit(self, token: int, state: tuple[int, int]) -> bool:
        """Whether the engine refuses the pair, for keys that would have to be as large as a state and cannot be."""
        return self.filled and self._filling(token, max(state)) * (token // 2) != max(state)

    def _filling(self, token: int, part: int) -> int:
        """Tokens whose keys, half of what they take, are at least so many bytes."""
        multiple = self.multiple or 1
        return multiple * ceil(part / (multiple * (token // 2)))


def sharing_of(target: Target, architectures: Sequence[str], decoder: Decoder, chunk: int | None) -> Sharing:
    """How blocks are shared there. chunk: tokens that the model's kernels work on at a time."""
    rules, engine, attends = target.engine.states, target.engine, bool(decoder.layers)
    if rules.cached is None or decoder.latent:
        return Sharing(target.latent_block if decoder.latent else target.block, None)
    if engine.on_ascend:
        # vllm-ascend's patch_mamba_config.py, and the one for the 310P.
        filled = rules.filled_by_keys and target.chip.name != "310P"
        return Sharing(
            target.block, _ON_ASCEND, _mode(target, architectures, attends), chunk or _CHUNK, filled
        )
    multiple = max(target.block, _SMALLEST) if rules.block_of_backend else _SMALLEST
    checkpoints = int(rules.checkpoints and decoder.state is not None and decoder.state.copied)
    mode = _mode(target, architectures, attends)
    return Sharing(target.block, multiple, mode, chunk or _CHUNK, checkpoints=checkpoints)


def _mode(target: Target, architectures: Sequence[str], attends: bool) -> Mode:
    """As vLLM's MambaModelConfig has it."""
    arguments, rules = target.arguments, target.engine.states
    cached = rules.cached and attends if arguments.prefix_caching is None else arguments.prefix_caching
    if not cached:
        return "none"
    every = any(name in rules.every for name in architectures)
    return "all" if every and arguments.state_mode in {None, "none", "all"} else "align"
