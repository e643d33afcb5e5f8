"""modelslim: W8A16 and W8A8_DYNAMIC of Ascend, from plain weights, without calibration and without an NPU.

weight I8 [N, K], weight_scale F32 [N, 1], weight_offset F32 [N, 1] of zeros, quant_model_description.json. The scale of
a row is its largest magnitude / 127, and the code of a weight the nearest multiple of it (msmodelslim,
ir/api/impl/int_quantization.py, `calculate_int_qparam` and `int_quantize`; dtypes and names:
core/quant_service/modelslim_v1/save/ascendv1.py). vllm-ascend 0.26 (quantization/methods/w8a16.py, w8a8_dynamic.py)
holds the scale in the model's own dtype. Where that has 16 bits the scale is rounded to it before the codes are made,
as msmodelslim's is, so that the engine multiplies by what was divided by. msmodelslim rounds the quotient to 16 bits,
too, so that some of its codes are not the nearest; here the quotient is a float32.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np

from weightsmith.checkpoint.float_formats import F32, FORMATS, array_type, cast
from weightsmith.convert.plan.set_options import read_choice
from weightsmith.convert.protocol import REMOVED, Output
from weightsmith.errors import ConversionRefused
from weightsmith.schemes import plain_view
from weightsmith.schemes.stated import DESCRIPTION_FILE
from weightsmith.values.linear import is_linear

from .modelslim_description import description
from .modelslim_repair import ANEW, described_anew
from .plain import plain_recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.arrays import Bits, Singles
    from weightsmith.convert.protocol import Arrays, Blocks, Recipe, RecipeStep, SourceEvidence

Mode = Literal["W8A8_DYNAMIC", "W8A16"]
MODES: tuple[Mode, ...] = ("W8A8_DYNAMIC", "W8A16")
# Mean error by mean magnitude, of one weight. Where a row's numbers are spread as a bell it is about a hundredth;
# beyond this outliers take the bits of the others. (By squares the others would not count: outliers make the norm.)
LIMIT = 0.05
_LARGEST = np.float32(127)
_SMALLEST_SCALE = np.finfo(np.float32).eps
# Numbers that are made at a time: they and what is made of them fit a core's second-level cache.
_STRIP = 1 << 17
# Inside a repeated layer. What has no index is an embedding, a head or a last norm.
_LAYER = re.compile(r"(^|\.)[0-9]+\.")
# Parts of a model that msmodelslim leaves as they are: towers of images and sounds, and what the engine reads as it is:
# the up-projection of latent attention, which it takes apart, and the indexer of sparse attention (lab_practice/).
_LEFT = re.compile(
    r"(^|\.)((\w*vision\w*|visual|\w*audio\w*|vit|image\w*|merger|multi_modal_projector|connector|mtp)\.|indexer\.)"
    r"|(^|\.)kv_b_proj\.weight$"
)
_EXPERTS = re.compile(r"(?P<block>.*)\.experts\.(?!.*(bias|_scale)$)")
_ONE_BY_ONE = re.compile(r".*\.experts\.[0-9]+\.")
_SPLIT = "save it with one tensor for each expert first (save_pretrained of transformers 4 does)"
_PACKED = (
    "convert it with dequant first, or have ModelSlim's description written anew with --set description=anew"
)
_OTHER_WAYS = (
    "leave such modules as they are with --set float=NAME, or state another limit with --set limit=0.1"
)


@dataclass(slots=True)
class Losses:
    """What rounding takes from each weight, summed up as its rows are made.

    limit: the relative error of one weight beyond which the work stops.
    """

    limit: float
    _sums: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def add(self, name: str, error: float, whole: float, rows: int, of: int) -> None:
        """Sums of the magnitudes of errors and weights, of `rows` rows out of `of`.

        Raises ConversionRefused where a whole weight loses too much.
        """
        with self._lock:
            before = self._sums.get(name, (0.0, 0.0, 0))
            sums = self._sums[name] = (before[0] + error, before[1] + whole, before[2] + rows)
        if sums[2] == of and (lost := _relative(*sums[:2])) > self.limit:
            raise ConversionRefused(
                name, f"would lose {lost:.1%} in 8 bits, and the limit is {self.limit:.1%}", _OTHER_WAYS
            )

    def told(self) -> tuple[str, ...]:
        """The errors in words; nothing where no weight was made."""
        if not self._sums:
            return ()
        worst = max(self._sums, key=lambda name: (_relative(*self._sums[name][:2]), name))
        error, whole = (math.fsum(sums[place] for sums in self._sums.values()) for place in (0, 1))
        return (
            f"relative error of {len(self._sums)} weights: {_relative(error, whole):.3%} in all, "
            f"at most {_relative(*self._sums[worst][:2]):.3%} ({worst})",
        )


def _relative(error: float, whole: float) -> float:
    return error / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class RoundRows:
    """Rows of one weight to codes, scales and offsets.

    tensor: its name. source: its dtype. rows: how many it has.
    """

    tensor: str
    source: str
    rows: int
    losses: Losses

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        step = max(1, _STRIP // blocks[0].shape[1])
        strips = [self._rounded(blocks[0][first : first + step]) for first in range(0, len(blocks[0]), step)]
        codes, scales = (np.concatenate(parts) for parts in zip(*strips, strict=True))
        return codes, scales, np.zeros_like(scales)

    def _rounded(self, patterns: Bits) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int8]], Singles]:
        fmt = FORMATS[self.source]
        weights: Singles = cast(patterns.view(array_type(fmt)), fmt, F32)[0]
        scales = np.abs(weights).max(axis=1, keepdims=True) / _LARGEST
        if fmt.width < F32.width:
            scales = cast(cast(scales, F32, fmt)[0], fmt, F32)[0]
        scales = np.maximum(scales, _SMALLEST_SCALE)
        codes = np.clip(np.rint(weights / scales), -128, 127)
        error = weights - codes * scales
        self.losses.add(self.tensor, _total(error), _total(weights), len(weights), self.rows)
        return codes.astype(np.int8), scales


def _total(numbers: Singles) -> float:
    return float(np.abs(numbers).sum(dtype=np.float64))


@dataclass(frozen=True, slots=True)
class ModelSlim:
    """Linear weights inside the layers are rounded; embeddings, heads, norms and routers stay."""

    name: str = "modelslim"

    @property
    def options(self) -> Mapping[str, str]:
        return {
            "mode": "W8A8_DYNAMIC (activations are rounded by the engine, too) or W8A16; default: W8A8_DYNAMIC",
            "description": "anew: what ModelSlim packed is copied, and described by what its tensors prove; mode then "
            "says what they do not tell",
            "float": "modules that stay as they are: ends of their names, with commas between them",
            "limit": f"the relative error of a weight at which the work stops; default: {LIMIT}",
        }

    def recognise(self, evidence: SourceEvidence) -> str | None:
        return None

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        if read_choice(options, "description", ANEW) is not None:
            return described_anew(evidence, options, dtype)
        mode = read_choice(options, "mode", MODES) or MODES[0]
        _refuse_what_is_packed(evidence)
        losses = Losses(_limit(options))
        plain = plain_recipe(evidence, dtype)
        left = tuple(filter(None, options.get("float", "").split(",")))
        blocks = _expert_blocks(evidence, mode)
        steps: list[RecipeStep] = []
        packed: list[str] = []
        for step in plain.steps:
            tensor = step.inputs[0].tensor if step.inputs else None
            if tensor is not None and _is_packed(tensor, blocks, left):
                packed.append(tensor.name)
                steps.append(_packed_step(step, tensor, losses))
            else:
                steps.append(step)
        if not packed:
            fact = "has no plain linear weight in its layers"
            raise ConversionRefused(evidence.checkpoint.path, fact, "convert it to bfloat16 first")
        return replace(
            plain,
            options={
                "mode": mode,
                "limit": losses.limit,
                **({"float": list(left)} if left else {}),
                **plain.options,
            },
            steps=tuple(steps),
            config={
                **plain.config,
                "quantization_config": REMOVED,
                "text_config.quantization_config": REMOVED,
            },
            files={DESCRIPTION_FILE: description(mode, steps, packed)},
            notes=(*plain.notes, "vLLM Ascend needs `--quantization ascend` for it"),
            told=losses.told,
        )


def _refuse_what_is_packed(evidence: SourceEvidence) -> None:
    packed_as = plain_view(evidence.checkpoint).packed_as
    if packed_as:
        raise ConversionRefused(evidence.checkpoint.path, f"is packed already: {packed_as}", _PACKED)


def _packed_step(step: RecipeStep, tensor: Tensor, losses: Losses) -> RecipeStep:
    """Codes, scales and offsets of a weight, made from the stored numbers."""
    name, (rows, cols) = tensor.name, tensor.shape
    column = [Output(f"{name}_{part}", "F32", (rows, 1)) for part in ("scale", "offset")]
    outputs = (Output(name, "I8", (rows, cols)), *column)
    return replace(step, outputs=outputs, kernel=RoundRows(name, tensor.dtype, rows, losses))


def _is_packed(tensor: Tensor, blocks: Collection[str], left: tuple[str, ...]) -> bool:
    """Whether a weight is rounded. blocks: of experts; what stands beside them says how much each of them counts."""
    name = tensor.name
    module = name.removesuffix(".weight")
    return (
        is_linear(tensor)
        and _LAYER.search(name) is not None
        and _LEFT.search(name) is None
        and module.rpartition(".")[0] not in blocks
        and not any(module == end or module.endswith(f".{end}") for end in left)
    )


def _expert_blocks(evidence: SourceEvidence, mode: Mode) -> frozenset[str]:
    """The modules that hold experts. Raises ConversionRefused for experts that Ascend's loader does not take so."""
    found = {match["block"]: name for name in evidence.checkpoint.tensors if (match := _EXPERTS.match(name))}
    joined = next((name for name in found.values() if _ONE_BY_ONE.match(name) is None), None)
    if joined is not None:
        raise ConversionRefused(
            joined,
            "holds the experts of a layer in one tensor, and ModelSlim's layout has one for each",
            _SPLIT,
        )
    if found and mode == "W8A16":
        name = next(iter(found.values()))
        raise ConversionRefused(
            name, "is of an expert, and vLLM Ascend has no W8A16 for these", "use mode=W8A8_DYNAMIC"
        )
    return frozenset(found)


def _limit(options: Mapping[str, str]) -> float:
    given = options.get("limit")
    try:
        limit = LIMIT if given is None else float(given)
    except ValueError:
        limit = math.nan
    if not 0 < limit <= 1:
        raise ConversionRefused(
            "--set limit", f"{given!r} is no limit", "give a number up to 1, such as 0.05"
        )
    return limit
