"""`inspect`: what a checkpoint is made of, and on request what its numbers show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightsmith.checkpoint import read_json_object
from weightsmith.errors import WeightsmithError
from weightsmith.schemes.packed import packed_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.manifest_file import HashVerdict
    from weightsmith.values.survey import Survey


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a checkpoint is made of.

    quantization: the scheme and by whose word, None when nothing is packed.
    survey: what the numbers show, None unless asked for.
    hashes: (file, verdict) against weightsmith.json, None unless asked for.
    """

    checkpoint: Checkpoint
    quantization: Mapping[str, str] | None
    survey: Survey | None
    hashes: tuple[tuple[str, HashVerdict], ...] | None = None

    @property
    def as_written(self) -> bool:
        """Every hashed file is still what was written; true when none was hashed. Files beside them do not matter."""
        return all(verdict in ("same", "not listed") for _, verdict in self.hashes or ())

    def document(self) -> dict[str, Any]:
        """The JSON of the command line's contract."""
        tensors = [
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
            "quantization": None if self.quantization is None else dict(self.quantization),
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
    """Headers alone, or every number once, or a sample of each tensor. Raises what reading the tensors raises."""
    found = None
    if values is not None:
        from weightsmith.values.survey import survey

        found = survey(checkpoint, sample=values == "sample", progress=progress)
    return Inspection(checkpoint, _quantization(checkpoint), found)


def _quantization(checkpoint: Checkpoint) -> Mapping[str, str] | None:
    """The layout of most packed modules, else the one that only the config speaks of."""
    modules = packed_modules(checkpoint)
    if modules:
        method, count = Counter(module.method for module in modules).most_common(1)[0]
        first = next(module.name for module in modules if module.method == method)
        return {
            "method": method,
            "source": "tensors",
            "evidence": f"{first} and {count - 1} more" if count > 1 else first,
        }
    stated = _stated(checkpoint)
    return (
        None if stated is None else {"method": stated, "source": "config", "evidence": "quantization_config"}
    )


def _stated(checkpoint: Checkpoint) -> str | None:
    path = checkpoint.root / "config.json"
    try:
        section = read_json_object(path).get("quantization_config") if path.exists() else None
    except WeightsmithError:
        return None  # infer-config says what is wrong with the file
    return str(section.get("quant_method", "unnamed")) if isinstance(section, dict) else None
