"""Where a checkpoint is to run: engine, chip, cards, and the engine's arguments that change the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.errors import Usage
from weightsmith.fits.division import Division
from weightsmith.formats import bytes_of
from weightsmith.machine.chips import family_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from weightsmith.machine.engines import Engine

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Chip:
    """An accelerator as an engine sees it: one device of its own.

    memory: bytes that the driver reports for one device. lacks: dtypes that it cannot compute with. instead: the dtype
    that takes the place of a missing bfloat16. block: tokens in a block of the KV cache, unless told otherwise.
    """

    name: str
    memory: int
    lacks: frozenset[str]
    instead: str | None
    block: int


# Memory: what the driver gives to one device (a 910C is two). Of the 64 GB of a 910B it is 65.8e9 bytes (field report
# on Mem-Agent). Of the 310P and the 950 it is the nominal size, which nobody here has seen. 310P has neither bfloat16
# nor 8-bit floats, and 8-bit floats are on the 950 alone (vllm-ascend's user guide).
_FP8 = frozenset({"float8_e4m3fn", "float8_e5m2", "float4_e2m1"})
CHIPS: Mapping[str, Chip] = {
    "910B": Chip("910B", 65_800_000_000, _FP8, None, 128),
    "910C": Chip("910C", 65_800_000_000, _FP8, None, 128),
    "310P": Chip("310P", 48 * 10**9, _FP8 | {"bfloat16"}, "float16", 128),
    "950": Chip("950", 112 * GIB, frozenset(), None, 128),
    "cuda": Chip("cuda", 80 * GIB, frozenset(), None, 16),
    "cpu": Chip("cpu", 0, frozenset(), None, 128),
}


_LATENT_ON_CPU = 16

# The chip that stands for a family of machine/chips.
_OF_FAMILY = {"A2": "910B", "A3": "910C", "310P": "310P", "A5": "950"}


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the engine's own arguments say, of those that change the answer. unread: the others, as they were given."""

    tensor_parallel: int = 1
    stages: int = 1
    replicas: int = 1
    by_expert: bool = False
    context: int | None = None
    dtype: str | None = None
    kv_dtype: str | None = None
    memory_share: float | None = None
    block: int | None = None
    batched_tokens: int | None = None
    trust_remote_code: bool = False
    allow_deprecated_quantization: bool = False
    quantization: str | None = None
    prefix_caching: bool | None = None
    state_mode: str | None = None
    state_dtype: str | None = None
    recurrent_dtype: str | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """kv_memory: bytes that are free for the KV cache on each card; None: to be worked out."""

    engine: Engine
    chip: Chip
    arguments: Arguments
    kv_memory: int | None = None

    @property
    def cards(self) -> int:
        """How many devices the model is divided among."""
        return self.arguments.tensor_parallel

    @property
    def division(self) -> Division:
        said = self.arguments
        return Division(said.tensor_parallel, said.stages, said.replicas, said.by_expert)

    @property
    def memory_share(self) -> float:
        given = self.arguments.memory_share
        return self.engine.memory_share if given is None else given

    @property
    def block(self) -> int:
        """Tokens in one block of the KV cache."""
        return self.arguments.block or self.chip.block

    @property
    def latent_block(self) -> int:
        """The same where keys and values are one latent, of which the kernel for CPUs knows one size."""
        return _LATENT_ON_CPU if self.chip.name == "cpu" else self.block


def chip_named(text: str) -> Chip:
    """`910B`, or with another memory `910B:32GB`; a longer name of the same family, as `Ascend910B3`. Raises Usage."""
    name, _, memory = text.partition(":")
    family = family_of(name)
    chip = CHIPS.get(name) or (CHIPS[_OF_FAMILY[family.name]] if family is not None else None)
    if chip is None:
        raise Usage("--chip", f"{text!r} is no chip that is known", f"name one of {', '.join(CHIPS)}")
    if not memory:
        return chip
    return Chip(chip.name, size_in(memory, "--chip"), chip.lacks, chip.instead, chip.block)


def size_in(text: str, option: str) -> int:
    """Bytes of `48.62GiB`, `80GB`, `1024`. Raises Usage."""
    size = bytes_of(text)
    if size is None:
        raise Usage(option, f"{text!r} is no size", "write it like 48.62GiB or 80GB")
    return int(size)


def read_arguments(words: Sequence[str]) -> Arguments:
    """The engine's arguments as `vllm serve` takes them: `--name value`, `--name=value`. Raises Usage."""
    values: dict[str, object] = {}
    unread: list[str] = []
    rest = list(words)
    while rest:
        name, equals, given = rest.pop(0).partition("=")
        key = name.replace("_", "-")
        if key in _FLAGS and not equals:
            argument, said = _FLAGS[key]
            values[argument] = said
            continue
        known = _VALUES.get(key)
        takes = not equals and bool(rest) and not rest[0].startswith("--")
        value = given if equals else rest.pop(0) if takes else None
        if known is None:
            unread.append(name if value is None else f"{name} {value}")
            continue
        if value is None:
            raise Usage(name, "has no value", "give one behind it")
        values[known[0]] = _converted(name, value, known[1])
    return Arguments(**values, unread=tuple(unread))  # type: ignore[arg-type]


def _converted(name: str, value: str, convert: Callable[[str], object]) -> object:
    try:
        return convert(value)
    except ValueError as error:
        raise Usage(name, f"{value!r} is no value for it", "give a number") from error


def _positive(text: str) -> int:
    """A count of tokens or cards; vLLM takes `32k` (1,000) and `32K` (1,024) as well (its `human_readable_int`)."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kmKM]?)", text)
    if found is None:
        raise ValueError(text)
    number = int(float(found[1]) * {"": 1, "k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20}[found[2]])
    if number < 1:
        raise ValueError(text)
    return number


_DTYPES = {"half": "float16", "float": "float32"}
_VALUES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "--tensor-parallel-size": ("tensor_parallel", _positive),
    "-tp": ("tensor_parallel", _positive),
    "--pipeline-parallel-size": ("stages", _positive),
    "-pp": ("stages", _positive),
    "--data-parallel-size": ("replicas", _positive),
    "-dp": ("replicas", _positive),
    "--max-model-len": ("context", _positive),
    "--dtype": ("dtype", lambda text: None if text == "auto" else _DTYPES.get(text, text)),
    "--kv-cache-dtype": ("kv_dtype", lambda text: None if text == "auto" else text),
    "--gpu-memory-utilization": ("memory_share", float),
    "--block-size": ("block", _positive),
    "--max-num-batched-tokens": ("batched_tokens", _positive),
    "--quantization": ("quantization", str),
    "-q": ("quantization", str),
    "--mamba-cache-mode": ("state_mode", str),
    "--mamba-cache-dtype": ("state_dtype", lambda text: None if text == "auto" else text),
    "--mamba-ssm-cache-dtype": ("recurrent_dtype", lambda text: None if text == "auto" else text),
}
_FLAGS = {
    "--trust-remote-code": ("trust_remote_code", True),
    "--allow-deprecated-quantization": ("allow_deprecated_quantization", True),
    "--enable-expert-parallel": ("by_expert", True),
    "-ep": ("by_expert", True),
    "--no-enable-expert-parallel": ("by_expert", False),
    "--enable-prefix-caching": ("prefix_caching", True),
    "--no-enable-prefix-caching": ("prefix_caching", False),
}
