"""What the dequantizing converters share: which stored tensors make one weight, and the recipe that follows from it.

Each converter says how it recognises its source and finds its weights; pairing them with their outputs, folding in
what they use up, and telling the config that nothing is packed any more is done here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weightsmith.convert.protocol import REMOVED, Output, RecipeStep, whole
from weightsmith.errors import ConversionRefused
from weightsmith.values.blocks import grid

from .plain import config_dtype, plain_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.convert.protocol import Companion, Kernel, Recipe, SourceEvidence

DAMAGED = "the checkpoint is incomplete or damaged; download it again"
_FOR_AN_ENGINE = "it scales activations or the key/value cache, which nobody quantizes now"


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """The stored tensors that make one plain weight, and how.

    name, shape, dtype: of the plain weight.
    codes: the tensor that holds its numbers.
    companions: the tensors whose rows go along with those of the codes: scales, then zero points.
    kernel: the arithmetic that makes rows of the weight from rows of codes and companions.
    parts: the names of all tensors but `codes` that belong to this weight alone.
    together: how many rows of codes must be made at once.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    codes: Tensor
    companions: tuple[Companion, ...]
    kernel: Kernel
    parts: tuple[str, ...]
    together: int = 1

    def step(self) -> RecipeStep:
        """The step that writes the plain weight."""
        output = Output(self.name, self.dtype, self.shape)
        rows = whole(self.codes, grid(self.codes)[0])
        return RecipeStep((output,), rows, self.kernel, self.companions, self.together)


@dataclass(frozen=True, slots=True)
class Dequantizer:
    """A converter from one way of packing to plain weights.

    name: of the converter.
    recognise: why it is the one for a source, or None.
    stored_weights: the packed weights of a source, to be made in the given dtype. Raises ConversionRefused for one
        that lacks a part.
    kind: what it looks for, in words.
    engine_scales: last names of tensors that only an engine which quantizes activations or its cache has a use for.
    left_out: side file -> why it is not copied.
    """

    name: str
    recognise: Callable[[SourceEvidence], str | None]
    stored_weights: Callable[[SourceEvidence, str], Iterable[StoredWeight]]
    kind: str
    engine_scales: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> Mapping[str, str]:
        """It takes none."""
        return {}

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        """Plain weights of dtype `dtype`, or bf16; everything else as `plain` would write it."""
        checkpoint, target = evidence.checkpoint, dtype or "BF16"
        steps: dict[str, tuple[RecipeStep, ...]] = {}
        dropped: dict[str, str] = {}
        for weight in self.stored_weights(evidence, target):
            steps[weight.codes.name] = (weight.step(),)
            dropped |= dict.fromkeys(weight.parts, f"folded into {weight.name}")
        if not steps:
            raise ConversionRefused(checkpoint.path, f"has no {self.kind}", "use `plain` to copy it")
        for name in checkpoint.tensors:
            if name.split(".")[-1] in self.engine_scales:
                dropped[name] = _FOR_AN_ENGINE
        plain = plain_recipe(evidence, dtype, steps, dropped)
        config = {**plain.config, **_unquantized(evidence, target)}
        return replace(plain, config=config, left_out=self.left_out)


def _unquantized(evidence: SourceEvidence, dtype: str) -> dict[str, object]:
    """The config changes that go with plain weights of this dtype."""
    gone: dict[str, object] = dict.fromkeys(
        ("quantization_config", "text_config.quantization_config", "compression_config"), REMOVED
    )
    return {**config_dtype(evidence.config, dtype), **gone}
