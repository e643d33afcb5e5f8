"""Structures that a fuzzer's bytes stand for: configs, tables of tensors, indexes, text. The same bytes make the same.

The mutator changes bytes; read as choices among what the program looks for, most of its changes reach the code behind
the parsers. Whatever the bytes are, they stand for something.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from weightsmith.checkpoint import Checkpoint, Storage, Tensor
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.layout import MOST_ELEMENTS, row_major
from weightsmith.shapes.given.config import Stated, assign
from weightsmith.shapes.page.page import Page, load_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.solve.solution import complete

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.json_value import Json

T = TypeVar("T")
Shapes = dict[str, tuple[int, ...]]

# One of each kind: dense, experts, hybrids with lists of kinds, towers, lists of sizes, encoder and decoder.
FAMILIES = (
    "llama", "gemma3_text", "mixtral", "zamba2", "qwen3_5_text", "deepseek_v3", "gemma3", "mbart", "bert", "mamba2",
    "qwen3_vl", "whisper",
)  # fmt: skip
SIZES = (0, 1, 2, 3, 7, 8, 64, 4096, 65_537, 1 << 20, (1 << 31) - 1, 1 << 32, 8_796_093_022_151, 1 << 46)
INDICES = (0, 1, 2, 3, 5, 63, 255, 1000, 4095, 4096, 100_000, 4_000_000, 10**30)
WORDS = (
    "", "full_attention", "sliding_attention", "mamba", "M-M*", "llama", "%999999999d", "9" * 80, "bfloat16", "\x1b[2J",
    "\u202e", "a.b", "\U0001f600",
)  # fmt: skip
NUMBERS: tuple[Json, ...] = (
    0, 1, 2, -1, 3, 7, 64, 4096, 4097, 10**6, 10**9, 1 << 53, 10**40, 10**120, 0.5, 1.5, -0.0, 1e308, float("inf"),
    float("-inf"), float("nan"),
)  # fmt: skip
SETTINGS = (
    "architectures", "model_type", "quantization_config", "quantization_config.bits", "compression_config", "auto_map",
    "tie_word_embeddings", "text_config", "vision_config", "text_config.model_type", "id2label", "label2id",
    "num_labels", "torch_dtype", "dtype", "layer_types", "rope_scaling", "rope_parameters", "eos_token_id",
    "partial_rotary_factor", "num_nextn_predict_layers", "hybrid_override_pattern", "time_step_limit",
)  # fmt: skip
PARTS = (
    "weight", "qweight", "qzeros", "scales", "g_idx", "bias", "weight_packed", "weight_scale", "weight_shape",
    "weight_zero_point", "weight_scale_inv", "weight.absmax", "weight.quant_map",
    "weight.quant_state.bitsandbytes__nf4",
    "weight_blocks", "weight_scales", "weight_offset", "input_scale", "k_scale", "SCB", "weight_g_idx", "",
)  # fmt: skip


class Draw:
    """Reads bytes as choices; behind their end every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1] if self._place <= len(self._data) else 0

    def below(self, count: int) -> int:
        number = self.byte()
        return (number if count <= 256 else number << 8 | self.byte()) % count

    def one(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def text(self) -> str:
        raw = bytes(self.byte() for _ in range(self.below(24)))
        return raw.decode("utf-8", "replace") if self.below(3) else self.one(WORDS)

    def value(self, depth: int = 3) -> Json:
        """A value of a config."""
        match self.below(8 if depth else 5):
            case 0:
                return None
            case 1:
                return bool(self.below(2))
            case 2 | 3:
                return self.one(NUMBERS)
            case 4:
                return self.text()
            case 5:
                return [self.value(depth - 1) for _ in range(self.below(5))]
            case 6:
                return [self.value(0)] * self.below(200)
        return {self.text(): self.value(depth - 1) for _ in range(self.below(5))}


def config_and_shapes(data: bytes) -> tuple[dict[str, Json], Shapes]:
    """A sound small model, and its config with up to eight settings that are something else."""
    draw = Draw(data)
    page, config, shapes = small_model(draw.one(FAMILIES))
    names = [*page.fields, *SETTINGS, *page.aliases]
    for _ in range(1 + draw.below(8)):
        name = draw.one(names)
        match draw.below(6):
            case 0:
                config.pop(name, None)
            case 1 if name.partition(".")[0]:
                assign(config, name.partition(".")[0], draw.value())
            case _:
                assign(config, name, draw.value())
    return config, shapes


def damaged_table(data: bytes) -> tuple[dict[str, Json] | None, Checkpoint]:
    """A small model some of whose tensors are lost, renamed, or of another shape; with its config, or without."""
    draw = Draw(data)
    _, config, shapes = small_model(draw.one(FAMILIES))
    if not draw.below(16):
        shapes = dict(list(shapes.items())[: 1 + draw.below(3)])
    for _ in range(draw.below(6)):
        name = draw.one(list(shapes))
        match draw.below(5):
            case 0 if len(shapes) > 1:
                del shapes[name]
            case 1:
                shapes[_renumbered(name, draw)] = shapes.pop(name)
            case 2:
                shapes[_renumbered(name, draw)] = shapes[name]
            case 3:
                shapes[name] = shapes[name][::-1]
            case _:
                shapes[name] = tuple(draw.one(SIZES) if draw.below(2) else size for size in shapes[name])[
                    : draw.below(5)
                ]
    stated = config if draw.below(2) else None
    return stated, table({name: ("BF16", shape) for name, shape in shapes.items()})


def packed_table(data: bytes) -> Checkpoint:
    """Modules of a few tensors each, named and typed as schemes name and type them, of any shape."""
    draw = Draw(data)
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for module in range(1 + draw.below(4)):
        for _ in range(1 + draw.below(6)):
            shape = tuple(draw.one(SIZES) for _ in range(draw.below(4)))
            found[f"model.layers.{module}.mlp.up_proj.{draw.one(PARTS)}"] = draw.one(sorted(BITS)), shape
    return table(found)


def text_pieces(data: bytes) -> list[str]:
    """Short texts, words among them, and all of the bytes as one."""
    draw = Draw(data)
    return [draw.text() * (1 + draw.below(3)) for _ in range(4)] + [data.decode("utf-8", "surrogateescape")]


def index(data: bytes, names: Sequence[str], files: Sequence[str]) -> bytes:
    """An index of sound shards in which some entries are something else."""
    draw = Draw(data)
    places: dict[str, Json] = {name: files[number % len(files)] for number, name in enumerate(names)}
    odd = (
        *files,
        "../model.safetensors",
        "model-99999-of-00002.safetensors",
        "",
        ".",
        "/etc/hostname",
        "a\0b",
        *WORDS,
    )
    for _ in range(draw.below(6)):
        name = draw.one((*names, *WORDS))
        places[name] = draw.one(odd) if draw.below(3) else draw.value()
    whole: dict[str, Json] = {"metadata": {"total_size": 100}, "weight_map": places}
    for _ in range(draw.below(3)):
        whole[draw.one(("metadata", "weight_map", "other"))] = draw.value()
    return json.dumps(whole).encode()


def _renumbered(name: str, draw: Draw) -> str:
    """The name with one of its indices replaced."""
    pieces = name.split(".")
    numbers = [place for place, piece in enumerate(pieces) if piece.isdigit()]
    if numbers:
        pieces[draw.one(numbers)] = str(draw.one(INDICES))
    return ".".join(pieces)


def table(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> Checkpoint:
    """A checkpoint of these tensors (dtype, shape) that lies in no file; what no file could hold is cut to one axis."""
    found, start = {}, 0
    for name, (dtype, shape) in tensors.items():
        count = 1
        for size in shape:
            count *= size or 1
        kept = shape if count <= MOST_ELEMENTS else shape[:1]
        found[name] = Tensor(name, dtype, kept, Storage("model.safetensors", start, 0), 0, row_major(kept))
        start += found[name].nbytes
    root = Path("in-memory")
    return Checkpoint(root, root, "safetensors", {"model.safetensors": start}, found, None, {}, ())


def small_model(model_type: str) -> tuple[Page, dict[str, Json], Shapes]:
    """(page, config, shapes) of a model of the family with two of everything that is counted."""
    page, config, shapes = _small_model(model_type)
    return page, json.loads(config), dict(shapes)


@cache
def _small_model(model_type: str) -> tuple[Page, str, Shapes]:
    page = load_page(model_type)
    patterns = next(iter(page.layouts.values()))
    classes: list[Json] = list(page.architectures)
    config: dict[str, Json] = {**page.base, "model_type": model_type, "architectures": classes}
    for count in {field for pattern in patterns for slot in pattern.slots for field in slot.count.fields()}:
        if isinstance(page.fields[count].value if count in page.fields else None, int):
            assign(config, count, 2)
    return page, json.dumps(config), predict(patterns, complete(Stated(config, page), {}))
