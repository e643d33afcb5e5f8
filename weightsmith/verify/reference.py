"""The reference as the rest of the room sees it: transformers on the CPU, in fp32 and bf16, and its controls."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsmith.verify import child
from weightsmith.verify.tokens import LogprobFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.verify.engine import EngineRun
    from weightsmith.verify.kinds import Kind, Variation

_MODULE = "weightsmith.verify.reference_worker"
_BYTES = {"float32": 4, "bfloat16": 2}

# Beside the weights: torch and transformers themselves 0.6 GB, and room for one prompt's activations (measured
# on a 0.4 M-parameter model: 0.55 GB resident).
_OVERHEAD_BYTES = 1_000_000_000

_ENV = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    # The reference is the CPU's, whatever else is in the machine.
    "CUDA_VISIBLE_DEVICES": "",
    **child.CALM_THREADS,
}


@dataclass(frozen=True, slots=True)
class References:
    """Log-probabilities of the replayed answers.

    full: fp32 (R), half: bf16 (B), controls: by name; None or missing where it could not be run, and
    `refused` says why, by dtype or control.
    """

    full: LogprobFile | None
    half: LogprobFile | None
    controls: dict[str, LogprobFile]
    refused: dict[str, str]
    seconds: dict[str, float]
    versions: dict[str, str]


def plan(
    kind: Kind, parameters: int | None, free_bytes: int | None
) -> tuple[list[Variation], dict[str, str]]:
    """The variations that fit the free memory, in the order to run them, and why the others were refused.

    A control alters the loaded model, so it comes after the right run of its dtype: fp32, or bf16 where fp32
    does not fit. Not knowing the size or the free memory refuses nothing.
    """
    refused: dict[str, str] = {}
    for dtype, size in _BYTES.items():
        if parameters is None or free_bytes is None:
            continue
        needed = parameters * size + _OVERHEAD_BYTES
        if needed > free_bytes:
            refused[dtype] = f"needs {needed / 1e9:.1f} GB of memory and {free_bytes / 1e9:.1f} GB are free"
    fitting = [dtype for dtype in _BYTES if dtype not in refused]
    controls = [replace(control, dtype=fitting[0]) for control in kind.controls] if fitting else []
    variations = []
    for dtype in fitting:
        variations += [kind.reference(dtype), *(c for c in controls if c.dtype == dtype)]
    return variations, refused


def run(
    model: Path,
    kind: Kind,
    engine: EngineRun,
    parameters: int | None,
    folder: Path,
    timeout_s: float,
    progress: Callable[[str], None] | None = None,
) -> References | child.Failure:
    """Replays the engine's measured answers in every variation that fits; a failure comes back as a value."""
    variations, refused = plan(kind, parameters, free_memory())
    if not variations:
        way_out = "use --reference FILE with a baseline from a larger machine"
        return child.Failure(
            f"{'; '.join(f'{d} {why}' for d, why in refused.items())}; {way_out}", "planning"
        )
    task = {
        "model": str(model.resolve()),
        "variations": [asdict(variation) for variation in variations],
        "answers": _answers(engine),
    }
    outcome = child.run(_MODULE, folder, task, _ENV, timeout_s, progress)
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "unknown")
    return _read(outcome.result, folder, engine.logprobs.vocabulary, refused)


def free_memory(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that may still be taken: the machine's MemAvailable or what a container's limit leaves, the lesser."""
    amounts = [_available(proc), _container_left(cgroup)]
    known = [amount for amount in amounts if amount is not None]
    return min(known) if known else None


def _available(proc: Path) -> int | None:
    try:
        lines = proc.read_text(encoding="ascii").splitlines()
    except OSError:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    rows = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(rows[0][1]) * 1024 if rows else None


def _container_left(cgroup: Path) -> int | None:
    """Limit less use of the cgroup-v2 that we are in; inactive page cache is given back."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = (cgroup / "memory.current").read_text(encoding="ascii").strip()
        stat = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    if limit == "max":
        return None
    reclaimable = sum(int(line.split()[1]) for line in stat if line.startswith("inactive_file "))
    return max(0, int(limit) - int(used) + reclaimable)


def _answers(engine: EngineRun) -> list[dict[str, Any]]:
    return [
        {"prompt": n, "ids": list(engine.prompt_ids[n]), "tokens": list(tokens)}
        for n, tokens in engine.measured.items()
    ]


def _read(told: dict[str, Any], folder: Path, vocabulary: int, refused: dict[str, str]) -> References:
    files = {(d["name"], d["dtype"]): LogprobFile(folder / d["file"], vocabulary) for d in told["done"]}
    return References(
        full=files.get(("reference", "float32")),
        half=files.get(("reference", "bfloat16")),
        controls={name: file for (name, _), file in files.items() if name != "reference"},
        refused=refused | told["impossible"],
        seconds=told["seconds"],
        versions=told["versions"],
    )
