"""In the reference's child: what is to be said of a reference whose checkpoint is packed, and of what stands for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.verify.inputs.activations import roundings
from weightsmith.verify.reference.plain_weights import Unpacked, unpacked
from weightsmith.verify.reference.replay_job import Unpacking
from weightsmith.verify.reference.rounding import rounding_layers
from weightsmith.verify.reference.second_opinion import Comparison, Opinion, compare, opinion_of_transformers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.nn import Module

    from weightsmith.verify.inputs.activations import Rounding


class PackedModel:
    """A packed folder, and what transformers says of it once it has been asked.

    found: what the plain view says. rounded: by module, how the engine rounds its input by design.
    """

    def __init__(self, model: str, found: Unpacked, no_second_opinion: str) -> None:
        self.found = found
        self._model = model
        self._stated = roundings(found.checkpoint, found.view)
        self._opinion = Opinion({}, no_second_opinion) if no_second_opinion else None
        self._comparison = Comparison(0, 0, 0, ())

    @classmethod
    def of(cls, model: str, no_second_opinion: str = "") -> PackedModel | None:
        """None for a folder in which nothing is packed."""
        found = unpacked(Path(model))
        return None if found is None else cls(model, found, no_second_opinion)

    @property
    def rounded(self) -> Mapping[str, Rounding]:
        """Empty where transformers' own unpacking is the reference: its layers may not be those of the checkpoint."""
        return {} if self.found.fault else self._stated.by_module

    def ask(self) -> None:
        """Asks transformers, once, and unless its word is the reference itself."""
        if self._opinion is None and self.found.fault is None:
            self._opinion = opinion_of_transformers(self._model)

    def compare(self, model: Module) -> None:
        """Compares what was said with a model that the plain view has filled, whole in memory."""
        if self._opinion is not None and self._opinion.samples:
            self._comparison = compare(self._opinion, model)
            self._opinion = Opinion({}, "")  # the samples have been of use

    def unpacking(self, model: Module) -> Unpacking:
        """All of it in words and figures. model: of the checkpoint's layers, perhaps without weights."""
        fault, seen = self.found.fault, self._comparison
        layers = rounding_layers(model, self.rounded)
        kinds = Counter(str(self.rounded[name]) for name in layers)
        unknown = [f"of {count:,} weights ({what})" for what, count in self._stated.unknown.items()]
        left = len(self._stated.by_module) - len(layers)
        if left:
            unknown.append(f"of {left:,} weights that the model holds merged")
        return Unpacking(
            packed_as=self.found.view.packed_as,
            by_transformers=f"{fault.subject} {fault.fact}" if fault else "",
            compared=seen.compared,
            kept=seen.kept,
            silent=self._opinion.silent if self._opinion else "it was not asked",
            differ=seen.differ,
            differing=seen.differing,
            rounded=", ".join(f"of {count:,} weights to {kind}" for kind, count in kinds.items()),
            unrounded=", ".join(unknown),
        )
