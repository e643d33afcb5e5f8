"""ternary: latent ternary QAT weights to fused ones, {-s, 0, +s}, plain or packed; the group size found or given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.place import located
from weightsmith.convert.plan.set_options import read_choice, read_number
from weightsmith.convert.protocol import REMOVED, RecipeStep
from weightsmith.errors import ConversionRefused
from weightsmith.values.fusion import WHOLE_ROW
from weightsmith.values.linear import is_linear
from weightsmith.values.quantizers import Quantizer, fuse_as
from weightsmith.values.ternary_quantizer import READABLE, NotFiniteError

from .match_quantizer import match_quantizer
from .pack_ternary import LAYOUTS, pack_step, packed_recipe, packing_dtype
from .plain import plain_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.arrays import Array, Bits
    from weightsmith.convert.protocol import Arrays, Blocks, Recipe, SourceEvidence
    from weightsmith.values.claims import Claims
    from weightsmith.values.fusion import Fusion

    from .pack_ternary import PackLayout

_WAY_OUT = "give it with --set group_size=N (-1: one scale per row)"


@dataclass(frozen=True, slots=True)
class Fuse:
    """Fuses rows of one tensor; `weightsmith.values.ternary_quantizer` and `quantizers` have the arithmetic.

    tensor: its name, for messages.
    source, target: the dtypes of latent and fused rows.
    """

    tensor: str
    source: str
    target: str
    quantizer: Quantizer

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        return (self._fused(blocks, first_row, None),)

    def fill(self, blocks: Blocks, first_row: int, out: Bits) -> None:
        self._fused(blocks, first_row, out)

    def _fused(self, blocks: Blocks, first_row: int, out: Bits | None) -> Array:
        (block,) = blocks
        try:
            return fuse_as(block, self.source, self.target, self.quantizer, out)
        except NotFiniteError as error:
            raise ConversionRefused(
                self.tensor,
                f"cannot be fused: {error} (rows {first_row} to {first_row + len(block) - 1})",
                "the checkpoint is damaged; `weightsmith inspect --values` counts how much",
            ) from error


@dataclass(frozen=True, slots=True)
class Ternary:
    """Linear weights inside the network are fused; embeddings, norms, biases and lm_head stay."""

    name: str = "ternary"

    @property
    def options(self) -> Mapping[str, str]:
        return {
            "group_size": "input channels that share a scale; -1: one scale per row; default: found",
            "pack": "int4 (compressed-tensors) or w8a16 (Ascend ModelSlim), both without loss; default: not packed",
            "match": "a fused checkpoint of this model, whose quantizer is found by trying and then used",
        }

    def recognise(self, evidence: SourceEvidence) -> str | None:
        if not evidence.claims.ternary:
            return None
        fusion = evidence.survey().fusion
        return "; ".join(fusion.evidence) if fusion.state == "latent" else None

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        layout = read_choice(options, "pack", LAYOUTS)
        fusion = evidence.survey().fusion
        fused = fusion.state == "fused" and layout is not None
        if not fused:
            _refuse_fused(evidence, fusion)
        quantizer, notes = _quantizer(evidence, options, fusion.group_size if fused else None)
        group_size = quantizer.group_size
        plain = plain_recipe(evidence, dtype)
        chosen: dict[str, object] = {"group_size": group_size}
        if "match" in options:
            chosen["quantizer"] = str(quantizer)
        if layout is None:
            steps, changed = _fused_steps(plain.steps, quantizer)
        else:
            chosen["pack"] = layout
            steps, changed = _packed_steps(plain.steps, layout, quantizer, fused, packing_dtype(dtype))
        if not changed:
            raise ConversionRefused(
                evidence.checkpoint.path, "has no linear weight that could be fused", "use `plain` to copy it"
            )
        code = evidence.claims.quantizing_code
        why = "its quantizer would fuse the fused weights again and scale them down"
        recipe = replace(
            plain,
            options={**chosen, **plain.options},
            steps=steps,
            config={**plain.config, **_without_code(evidence.config, code)},
            left_out=dict.fromkeys(code, why),
            notes=(*plain.notes, *notes, *(f"{file} is not copied: {why}" for file in code)),
        )
        return recipe if layout is None else packed_recipe(recipe, layout, group_size, changed)


def _fused_steps(
    steps: Sequence[RecipeStep], quantizer: Quantizer
) -> tuple[tuple[RecipeStep, ...], list[str]]:
    """All steps, those of linear weights with the arithmetic of the quantizer; and the names of these."""
    result: list[RecipeStep] = []
    changed: list[str] = []
    for step in steps:
        output = step.outputs[0]
        if not is_linear(step.inputs[0].tensor):
            result.append(step)
            continue
        result.append(RecipeStep((output,), step.inputs, _fuse(step, quantizer, output.dtype)))
        changed.append(output.name)
    return tuple(result), changed


def _packed_steps(
    steps: Sequence[RecipeStep], layout: PackLayout, quantizer: Quantizer, fused: bool, dtype: str
) -> tuple[tuple[RecipeStep, ...], list[str]]:
    """As `_fused_steps`, packed.

    fused: the weights are fused already, and only packed.
    dtype: of the scales.
    """
    result: list[RecipeStep] = []
    changed: list[str] = []
    for step in steps:
        tensor = step.inputs[0].tensor
        if not is_linear(tensor):
            result.append(step)
            continue
        kernel = _fuse(step, quantizer, dtype)
        result += pack_step(step, layout, quantizer.group_size, None if fused else kernel, dtype)
        changed.append(tensor.name)
    return tuple(result), changed


def _refuse_fused(evidence: SourceEvidence, fusion: Fusion) -> None:
    """Fusing twice corrupts: the mean of a fused group is smaller than its s (measured: 0.69 of it)."""
    if fusion.state in ("fused", "mixed", "packed"):
        group = "" if fusion.group_size is None else f", group size {fusion.group_size}"
        raise ConversionRefused(
            evidence.checkpoint.path,
            f"is {fusion.state} already{group}: {'; '.join(fusion.evidence)}",
            "fusing again would shrink every scale; use `plain` to copy it",
        )


def _quantizer(
    evidence: SourceEvidence, options: Mapping[str, str], found: int | None
) -> tuple[Quantizer, tuple[str, ...]]:
    """The quantizer, and what to say of it.

    found: the group size of weights that are fused already; None for latent ones.
    """
    reference = options.get("match")
    if reference is None:
        return Quantizer(_group_size(evidence, options, found)), ()
    if found is not None:
        raise ConversionRefused("--set match", "the source is fused already", "leave match away")
    given = _group_size(evidence, options, None) if "group_size" in options else None
    matched = match_quantizer(evidence.checkpoint, located(reference), given)
    return matched.quantizer, (f"{reference}: {matched}",)


def _group_size(evidence: SourceEvidence, options: Mapping[str, str], found: int | None) -> int:
    """Given, or found in fused weights, or the one on which everything beside the weights agrees."""
    given = read_number(options, "group_size", _is_group_size, "give a number, or -1")
    if given is not None:
        return given
    if found is not None:
        return found
    claims = evidence.claims
    if claims.group_size is not None:
        return claims.group_size
    raise ConversionRefused(evidence.checkpoint.path, _not_stated(claims), _WAY_OUT)


def _is_group_size(number: int) -> bool:
    return number == WHOLE_ROW or number > 0


def _not_stated(claims: Claims) -> str:
    if claims.sizes:
        said = "; ".join(str(claim) for claim in claims.sizes[:4])
        return f"the group size of its quantizer is stated in different ways: {said}"
    read = ", ".join(claims.read) or "no file beside the weights"
    return f"the group size of its quantizer is not known: latent weights do not show it, and {read} do not state it"


def _fuse(step: RecipeStep, quantizer: Quantizer, target: str) -> Fuse:
    """The quantizer for a linear weight. Raises ConversionRefused where it does not fit."""
    tensor = step.inputs[0].tensor
    cols, group_size = tensor.shape[1], quantizer.group_size
    if group_size != WHOLE_ROW and cols % group_size:
        raise ConversionRefused(
            tensor.name, f"has rows of {cols} channels, which groups of {group_size} do not divide", _WAY_OUT
        )
    if tensor.dtype not in READABLE:
        raise ConversionRefused(
            tensor.name,
            f"is {tensor.dtype}; latent weights are {', '.join(READABLE)}",
            "cast it with `plain` first",
        )
    return Fuse(tensor.name, tensor.dtype, target, quantizer)


def _without_code(config: Mapping[str, object] | None, files: tuple[str, ...]) -> dict[str, object]:
    """Deletes the `auto_map` entries that load the left-out files."""
    auto_map = config.get("auto_map") if config is not None else None
    if not isinstance(auto_map, dict):
        return {}
    modules = {file.removesuffix(".py") for file in files}
    gone = [
        key for key, target in auto_map.items() if isinstance(target, str) and target.split(".")[0] in modules
    ]
    if len(gone) == len(auto_map):
        return {"auto_map": REMOVED}
    return {f"auto_map.{key}": REMOVED for key in gone}
