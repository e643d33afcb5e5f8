"""`inspect`: what a checkpoint is made of, and on request what its numbers show."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from weightsmith.checkpoint import readable_config
from weightsmith.checkpoint.model_files import is_loaded
from weightsmith.schemes import packed_modules

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.manifest_file import HashVerdict
    from weightsmith.json_value import JsonObject
    from weightsmith.values.value_survey import ValueSurvey


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weights are packed.

    method: the scheme, or what the config calls it. source: who says so. evidence: the modules, or the config's key.
    """

    method: str
    source: Literal["tensors", "config"]
    evidence: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a checkpoint is made of.

    quantization: how the weights are packed, None when none is.
    survey: what the numbers show, None unless asked for.
    hashes: (file, verdict) against weightsmith.json, None unless asked for.
    """

    checkpoint: Checkpoint
    quantization: Quantization | None
    survey: ValueSurvey | None
    hashes: tuple[tuple[str, HashVerdict], ...] | None = None

    @property
    def as_written(self) -> bool:
        """Every hashed file is still what was written; true when none was hashed.

        Files beside them do not matter, unless a loader may read them.
        """
        return all(
            verdict == "same" or (verdict == "not listed" and not is_loaded(file))
            for file, verdict in self.hashes or ()
        )

    def document(self) -> JsonObject:
        """The JSON of the command line's contract."""
        tensors: list[JsonObject] = [
            {
                "name": t.name,
                "dtype": t.dtype,
                "shape": list(t.shape),
                "file": ", ".join(t.files),
                "bytes": t.nbytes,
            }
            for t in self.checkpoint.tensors.values()
        ]
        document = {
            "command": "inspect",
            "checkpoint": self.checkpoint.summary(),
            "tensors": tensors,
            "quantization": None if self.quantization is None else asdict(self.quantization),
            **(self.survey.document() if self.survey else {}),
        }
        if self.hashes is not None:
            document["hashes"] = [{"file": file, "verdict": verdict} for file, verdict in self.hashes]
        return document


def inspect(
    checkpoint: Checkpoint,
    *,
    values: Literal["full", "sample"] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """What headers alone show, and on request the numbers.

    values: "full" reads every number once, "sample" a part of each tensor. progress: as for `survey_values`.
    Raises what `TensorReader.read` raises.
    """
    found = None
    if values is not None:
        from weightsmith.values.value_survey import survey_values

        found = survey_values(checkpoint, sample=values == "sample", progress=progress)
    return Inspection(checkpoint, _quantization(checkpoint), found)


def _quantization(checkpoint: Checkpoint) -> Quantization | None:
    """The scheme of most packed modules, else the one that only the config speaks of."""
    modules = packed_modules(checkpoint)
    if modules:
        method, count = Counter(module.method for module in modules).most_common(1)[0]
        first = next(module.name for module in modules if module.method == method)
        return Quantization(method, "tensors", f"{first} and {count - 1} more" if count > 1 else first)
    section = (readable_config(checkpoint) or {}).get("quantization_config")
    if not isinstance(section, dict):
        return None
    return Quantization(str(section.get("quant_method", "unnamed")), "config", "quantization_config")
