"""The reference as the rest of the room sees it: transformers on the CPU, in fp32 and bf16, and its controls."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsmith.installed import versions
from weightsmith.process import child
from weightsmith.verify.inputs.tokens import LogprobFile
from weightsmith.verify.reference import cache

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from contextlib import AbstractContextManager

    from weightsmith.json_value import JsonObject
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.inputs.files import Size
    from weightsmith.verify.inputs.kinds import Kind, Variation
    from weightsmith.verify.reference.cache import Cache, Subject

_MODULE = "weightsmith.verify.reference.worker"
_BYTES = {"float32": 4, "bfloat16": 2}

# Beside the weights: torch and transformers themselves 0.6 GB, and room for the activations (measured
# on a 0.4 M-parameter model: 0.55 GB resident).
_OVERHEAD_BYTES = 1_000_000_000
# Leaves weights on disk for transformers, which then takes what a layer needs when it is its turn.
_LAYER_LOADER = "accelerate"
_UNPACK = "packed weights run whole only; `weightsmith convert --converter unpack` makes a copy that need not"

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
    `refused` says why, by dtype or control. seconds: by stage, the child's whole life among them. cached: the
    variations that were not computed now. cache_fault: why others could not be kept. layer_by_layer: dtype → why its
    weights were not in memory all at once.
    """

    full: LogprobFile | None
    half: LogprobFile | None
    controls: dict[str, LogprobFile]
    refused: dict[str, str]
    seconds: dict[str, float]
    versions: dict[str, str]
    cached: tuple[str, ...] = ()
    cache_fault: str | None = None
    layer_by_layer: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """variations: in the order to run them. layer_by_layer, refused: dtype → why it is not run whole, or not at all."""

    variations: tuple[Variation, ...]
    layer_by_layer: Mapping[str, str]
    refused: Mapping[str, str]


def plan(
    kind: Kind,
    controls: Sequence[Variation],
    size: Size | None = None,
    free_bytes: int | None = None,
    at_hand: Container[str] = (),
    layer_loader: bool = True,
) -> Plan:
    """What fits the free memory: whole where that is possible, else layer by layer, else not at all.

    Controls take the dtype that the gates trust most: fp32, or bf16 where fp32 does not fit. Not knowing the size
    or the free memory refuses nothing, and what is `at_hand` (by dtype) need not fit.
    """
    layered: dict[str, str] = {}
    refused: dict[str, str] = {}
    for dtype, width in _BYTES.items():
        if size is None or free_bytes is None or dtype in at_hand:
            continue
        whole = size.parameters * width + _OVERHEAD_BYTES
        # The layer itself, and once more what the loader holds of it.
        one_layer = 2 * size.largest_layer * width + _OVERHEAD_BYTES
        needs, free = f"needs {_gb(whole)} of memory", f"{_gb(free_bytes)} are free"
        if whole <= free_bytes:
            continue
        if one_layer > free_bytes:
            refused[dtype] = f"{needs}, layer by layer still {_gb(one_layer)}, and {free}"
        elif size.packed:
            refused[dtype] = f"{needs} and {free} ({_UNPACK})"
        elif not layer_loader:
            install = f"layer by layer it needs {_gb(one_layer)}: pip install {_LAYER_LOADER}"
            refused[dtype] = f"{needs} and {free} ({install})"
        else:
            layered[dtype] = f"whole it {needs} and {free}"
    fitting = [dtype for dtype in _BYTES if dtype not in refused]
    variations: list[Variation] = []
    for dtype in fitting:
        wrong = controls if dtype == fitting[0] else ()
        # Those with weights of their own come last: they load anew.
        ordered = sorted(wrong, key=lambda control: control.weights is not None)
        variations += [kind.reference(dtype), *(replace(control, dtype=dtype) for control in ordered)]
    return Plan(tuple(variations), layered, refused)


def _gb(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB"


@dataclass(frozen=True, slots=True)
class Store:
    """Where references are kept, and whose they are."""

    cache: Cache
    subject: Subject


def start(folder: Path) -> AbstractContextManager[child.Waiting]:
    """A child that imports torch and transformers, to be told later what to do."""
    return child.started(_MODULE, folder, _ENV)


def run(
    model: Path,
    kind: Kind,
    controls: Sequence[Variation],
    engine: EngineRun,
    size: Size,
    folder: Path,
    timeout_s: float,
    progress: child.Stage | None = None,
    store: Store | None = None,
    waiting: child.Waiting | None = None,
) -> References | child.Failure:
    """Replays the engine's measured answers in every variation that fits; a failure comes back as a value.

    With a store, what it holds is taken from there, and what is computed is kept there. waiting: a child that
    `start` has started under the same folder.
    """
    answers = _answers(engine)
    shelf = _Shelf(store, answers, folder.with_name(f"{folder.name}-cached"))
    whole = plan(kind, controls).variations
    ready = shelf.fetch(whole)
    at_hand = {dtype for dtype in _BYTES if all(v in ready for v in whole if v.dtype == dtype)}
    loader = bool(versions((_LAYER_LOADER,)))
    planned = plan(kind, controls, size, free_memory(), at_hand, loader)
    variations, refused = planned.variations, dict(planned.refused)
    if not variations:
        return child.Failure("; ".join(f"{dtype} {why}" for dtype, why in refused.items()), "planning")
    ready |= shelf.fetch([v for v in variations if v not in whole])
    told: dict[str, Any] = {
        "done": [],
        "impossible": {},
        "seconds": {},
        "versions": versions(cache.LIBRARIES),
    }
    missing = [variation for variation in variations if variation not in ready]
    started = time.monotonic()
    if missing:
        task: JsonObject = {
            "model": str(model.resolve()),
            "variations": [asdict(variation) for variation in missing],
            "answers": answers,
            "layer_by_layer": sorted(planned.layer_by_layer),
        }
        with nullcontext(waiting) if waiting else start(folder) as worker:
            outcome = worker.run(task, timeout_s, progress)
        if outcome.result is None:
            return outcome.failure or child.Failure("no result", "unknown")
        told = outcome.result
    done = {(d["name"], d["dtype"]): folder / d["file"] for d in told["done"]}
    fresh = {v: done[v.name, v.dtype] for v in missing if (v.name, v.dtype) in done}
    refused |= told["impossible"]
    taken = [variation for variation in variations if variation in ready]
    computed = {variation.dtype for variation in missing}
    return _references(
        {
            v: LogprobFile(path, engine.logprobs.vocabulary)
            for v, path in (ready | fresh).items()
            if v in variations
        },
        refused,
        {**told["seconds"], "whole": time.monotonic() - started},
        told["versions"],
        tuple(f"{v.name} {v.dtype}" for v in taken),
        shelf.keep(fresh),
        {dtype: why for dtype, why in planned.layer_by_layer.items() if dtype in computed},
    )


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The store as one run sees it; without a store it is empty and stays so."""

    store: Store | None
    answers: list[dict[str, Any]]
    folder: Path

    def fetch(self, variations: Sequence[Variation]) -> dict[Variation, Path]:
        if self.store is None:
            return {}
        targets = {v: self.folder / f"{v.name}-{v.dtype}.safetensors" for v in variations}
        return {v: path for v, path in targets.items() if self.store.cache.fetch(self._key(v), path)}

    def keep(self, fresh: Mapping[Variation, Path]) -> str | None:
        """Why something could not be kept."""
        if self.store is None:
            return None
        reasons = [self.store.cache.keep(self._key(v), path) for v, path in fresh.items()]
        failed = sorted({reason for reason in reasons if reason is not None})
        return "; ".join(failed) or None

    def _key(self, variation: Variation) -> str:
        assert self.store is not None
        return cache.key(self.store.subject, variation, self.answers)


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


def _references(
    files: Mapping[Variation, LogprobFile],
    refused: dict[str, str],
    seconds: dict[str, float],
    versions: dict[str, str],
    cached: tuple[str, ...],
    cache_fault: str | None,
    layer_by_layer: Mapping[str, str],
) -> References:
    right = {v.dtype: file for v, file in files.items() if v.name == "reference"}
    return References(
        full=right.get("float32"),
        half=right.get("bfloat16"),
        controls={v.name: file for v, file in files.items() if v.name != "reference"},
        refused=refused,
        seconds=seconds,
        versions=versions,
        cached=cached,
        cache_fault=cache_fault,
        layer_by_layer=layer_by_layer,
    )
