"""Reference vectors as the rest of the room sees them: transformers on the CPU in fp32 and bf16, and wrong ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.formats import gigabytes
from weightsmith.process import child
from weightsmith.records import NotARecord
from weightsmith.verify.measure.vectors import read_vectors
from weightsmith.verify.reference.free_memory import free_memory
from weightsmith.verify.reference.pooled_job import VECTORS, PooledReferenceAnswer, PooledReferenceJob
from weightsmith.verify.reference.replay import CPU_ONLY
from weightsmith.verify.reference.replay_plan import bytes_needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.verify.inputs.files import Size
    from weightsmith.verify.inputs.kinds import Dtype
    from weightsmith.verify.measure.vectors import Vectors

_MODULE = "weightsmith.verify.reference.pooled_worker"


@dataclass(frozen=True, slots=True)
class PooledReferences:
    """full: fp32 (R). half: bf16 or fp16 (B). Either is None where it could not be run.

    controls: by name, without those that could not be run. refused: why a dtype or a control could not be.
    """

    full: Vectors | None
    half: Vectors | None
    controls: Mapping[str, Vectors]
    refused: Mapping[str, str]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]


def fitting(size: Size, half: Dtype) -> tuple[tuple[Dtype, ...], dict[str, str]]:
    """The dtypes whose weights fit the free memory, and why others do not."""
    free = free_memory()
    dtypes: tuple[Dtype, ...] = ("float32", half)
    needed = {dtype: bytes_needed(size, dtype) for dtype in dtypes}
    refused: dict[str, str] = {
        dtype: f"needs {gigabytes(count)} of memory and {gigabytes(free)} are free"
        for dtype, count in needed.items()
        if free is not None and count > free
    }
    return tuple(dtype for dtype in dtypes if dtype not in refused), refused


def run(
    job: PooledReferenceJob, folder: Path, timeout_s: float, progress: child.Stage | None = None
) -> PooledReferences | child.Failure:
    """Computes every variation in a child of its own under `folder`; a failure comes back as a value."""
    began = time.monotonic()
    outcome = child.run(_MODULE, folder, job.to_json(), CPU_ONLY, timeout_s, progress)
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "unknown")
    try:
        answer = PooledReferenceAnswer.from_json(outcome.result)
        found = read_vectors(folder / VECTORS, dict.fromkeys(answer.done, tuple(job.texts)))
    except (NotARecord, KeyError, ValueError) as error:
        return child.Failure(f"partial output ({error})", "reading its answers")
    right = {
        v.model.dtype: found[f"reference-{v.model.dtype}"] for v in job.variations if _is_right(v.model.name)
    }
    wrong = {v.model.name: f"{v.model.name}-{v.model.dtype}" for v in job.variations}
    return PooledReferences(
        full=right.get("float32"),
        half=next((one for dtype, one in right.items() if dtype != "float32"), None),
        controls={n: found[key] for n, key in wrong.items() if not _is_right(n) and key in found},
        refused=answer.impossible,
        seconds={**answer.seconds, "whole": time.monotonic() - began},
        versions=answer.versions,
    )


def _is_right(name: str) -> bool:
    return name == "reference"
