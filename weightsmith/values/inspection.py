"""`inspect`: what a checkpoint is made of, and on request what its numbers show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from weightsmith.checkpoint import readable_config
from weightsmith.checkpoint.index import DISAGREEMENTS
from weightsmith.checkpoint.model_files import is_loaded
from weightsmith.errors import MissingInput
from weightsmith.schemes import plain_view
from weightsmith.values.anatomy import NOTHING, anatomy
from weightsmith.values.beside import NOTHING as NOTHING_BESIDE
from weightsmith.values.beside import Beside, beside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.manifest_file import HashVerdict
    from weightsmith.documents import InspectDocument, QuantizationEntry, TensorEntry
    from weightsmith.schemes import PlainView
    from weightsmith.values.anatomy import Anatomy
    from weightsmith.values.statistics import Statistics
    from weightsmith.values.value_survey import ValueSurvey


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weights are packed.

    method: the scheme, or what the config calls it. source: who says so. evidence: the modules, or the config's key.
    bits, group_size, symmetric: of the scheme, None where only the config speaks of it. group_size: -1 for one scale a
    row, 0 for one a weight. symmetric: None, too, where no name or shape tells.
    parameters: of the model, packed weights as what they stand for; None where nothing is packed.
    """

    method: str
    source: Literal["tensors", "config"]
    evidence: str
    bits: int | None = None
    group_size: int | None = None
    symmetric: bool | None = None
    parameters: int | None = None

    def document(self) -> QuantizationEntry:
        """The `quantization` of the JSON contract."""
        return {
            "method": self.method,
            "source": self.source,
            "evidence": self.evidence,
            "bits": self.bits,
            "group_size": self.group_size,
            "symmetric": self.symmetric,
            "parameters": self.parameters,
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a checkpoint is made of.

    quantization: how the weights are packed, None when none is.
    survey: what the numbers show, None unless asked for.
    anatomy: its parts and layers.
    chosen: the tensors that were asked for, in the order that was asked for.
    statistics: of these by name, where their numbers were asked for.
    beside: what lies beside the weights: code, licence, generation settings.
    hashes: (file, verdict) against weightsmith.json, None unless asked for.
    """

    checkpoint: Checkpoint
    quantization: Quantization | None
    survey: ValueSurvey | None
    anatomy: Anatomy = NOTHING
    chosen: tuple[Tensor, ...] = ()
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    beside: Beside = NOTHING_BESIDE
    hashes: tuple[tuple[str, HashVerdict], ...] | None = None

    @property
    def parameters(self) -> int:
        """Of the model: packed weights count as what they stand for."""
        packed = self.quantization.parameters if self.quantization is not None else None
        return self.checkpoint.parameters if packed is None else packed

    @property
    def as_written(self) -> bool:
        """Every hashed file is still what was written; true when none was hashed.

        Files beside them do not matter, unless a loader may read them.
        """
        return all(
            verdict == "same" or (verdict == "not listed" and not is_loaded(file))
            for file, verdict in self.hashes or ()
        )

    @property
    def sound(self) -> bool:
        """Nothing that was asked for is bad: hashes, and with values also what the index says of the tensors."""
        if self.survey is None:
            return self.as_written
        disagrees = any(problem.code in DISAGREEMENTS for problem in self.checkpoint.problems)
        return self.as_written and self.survey.sound and not disagrees

    def document(self) -> InspectDocument:
        """The JSON of the command line's contract."""
        document: InspectDocument = {
            "command": "inspect",
            "checkpoint": {**self.checkpoint.summary(), "parameters": self.parameters},
            "tensors": list(map(self._entry, self.chosen)),
            "parts": [part.document() for part in self.anatomy.parts],
            "layers": [layer.document() for layer in self.anatomy.layers],
            "quantization": None if self.quantization is None else self.quantization.document(),
            "code": self.beside.code.document(),
            "licence": None if self.beside.licence is None else self.beside.licence.document(),
            "generation": [setting.document() for setting in self.beside.generation],
            "run": None if self.checkpoint.run is None else self.checkpoint.run.document(),
        }
        if self.survey is not None:
            document["fusion"] = self.survey.fusion.document()
            document["damage"] = [fault.document() for fault in self.survey.damage]
            if self.survey.sampled:
                document["sampled"] = True
        if self.hashes is not None:
            document["hashes"] = [{"file": file, "verdict": verdict} for file, verdict in self.hashes]
        return document

    def _entry(self, tensor: Tensor) -> TensorEntry:
        entry: TensorEntry = {
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "file": ", ".join(tensor.files),
            "bytes": tensor.nbytes,
        }
        if tensor.name in self.statistics:
            entry["statistics"] = self.statistics[tensor.name].document()
        return entry


def inspect(
    checkpoint: Checkpoint,
    *,
    values: Literal["full", "sample"] | None = None,
    tensors: str | None = None,
    by_size: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """What headers alone show, and on request the numbers.

    values: "full" reads every number once, "sample" a part of each tensor. tensors: a pattern of names (`*`, `?`,
    `[…]`); only these are listed, and with values their statistics are worked out. by_size: the largest first, else
    in file order. progress: as for `survey_values`.
    Raises MissingInput where no name fits the pattern, and what `TensorReader.read` raises.
    """
    chosen, found = _chosen(checkpoint, tensors, by_size=by_size), None
    if values is not None:
        from weightsmith.values.value_survey import survey_values

        found = survey_values(checkpoint, sample=values == "sample", progress=progress)
    figures: Mapping[str, Statistics] = {}
    if values is not None and tensors is not None:
        from weightsmith.values.statistics import statistics

        figures = statistics(checkpoint, chosen)
    view = plain_view(checkpoint)
    packed, parts = _quantization(checkpoint, view), anatomy(checkpoint.tensors, view.tensors)
    return Inspection(checkpoint, packed, found, parts, chosen, figures, beside(checkpoint))


def _chosen(checkpoint: Checkpoint, pattern: str | None, *, by_size: bool) -> tuple[Tensor, ...]:
    names = checkpoint.tensors
    chosen = [t for name, t in names.items() if pattern is None or fnmatchcase(name, pattern)]
    if not chosen and names:
        near = get_close_matches(str(pattern), names, n=1, cutoff=0.3)
        raise MissingInput(
            str(checkpoint.path),
            f"has no tensor that fits {pattern!r}",
            f"there is {next(iter(near or names))}",
        )
    return tuple(sorted(chosen, key=lambda t: -t.nbytes) if by_size else chosen)


def _quantization(checkpoint: Checkpoint, view: PlainView) -> Quantization | None:
    """The scheme of most packed modules, else the one that only the config speaks of."""
    if view.modules:
        method, count = Counter(module.method for module in view.modules).most_common(1)[0]
        first = next(module for module in view.modules if module.method == method)
        evidence = f"{first.name} and {count - 1} more" if count > 1 else first.name
        return Quantization(
            method, "tensors", evidence, first.bits, first.group, first.symmetric, view.elements
        )
    section = (readable_config(checkpoint) or {}).get("quantization_config")
    if not isinstance(section, dict):
        return None
    return Quantization(str(section.get("quant_method", "unnamed")), "config", "quantization_config")
