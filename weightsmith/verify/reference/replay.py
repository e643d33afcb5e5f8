"""The reference as the rest of the room sees it: transformers on the CPU, in fp32 and bf16, and its controls."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from weightsmith import visible_devices
from weightsmith.checkpoint.json_file import parse_object
from weightsmith.checkpoint.safetensors_file import read_safetensors
from weightsmith.checkpoint.small_file import open_named
from weightsmith.errors import WeightsmithError
from weightsmith.installed import versions
from weightsmith.process import child
from weightsmith.records import NotARecord
from weightsmith.verify.inputs.tokens import LogprobFile
from weightsmith.verify.reference import cache
from weightsmith.verify.reference.free_memory import free_memory
from weightsmith.verify.reference.replay_job import (
    UNPACKING,
    ReferenceAnswer,
    ReferenceJob,
    Replayed,
    Unpacking,
    of_variation,
)
from weightsmith.verify.reference.replay_plan import WIDTHS, ReplayPlan, plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.inputs.files import Size
    from weightsmith.verify.inputs.kinds import Dtype, Kind, Variation
    from weightsmith.verify.reference.cache import Cache, Subject

_MODULE = "weightsmith.verify.reference.worker"

# Leaves weights on disk for transformers, which then takes what a layer needs when it is its turn.
_LAYER_LOADER = "accelerate"
_A_PLAIN_COPY = "`weightsmith convert --converter dequant` makes a copy that does not"

# Variables of a child that computes references.
CPU_ONLY = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    # The reference is the CPU's, whatever else is in the machine.
    visible_devices.CUDA: "",
    **child.CALM_THREADS,
}


@dataclass(frozen=True, slots=True)
class References:
    """Log-probabilities of the replayed completions.

    full: fp32 (R), half: bf16 (B), None where it could not be run. half_dtype: fp16 where the engine computes so.
    controls: by name, without those that could not be run.
    refused: why a dtype or a control could not be run.
    seconds: by stage, the child's whole life among them.
    versions: of the libraries that computed.
    cached: the variations that were not computed now.
    cache_fault: why others could not be kept.
    layer_by_layer: dtype → why its weights were not in memory all at once.
    unpacking: where the weights come from, if the checkpoint is packed.
    """

    full: LogprobFile | None
    half: LogprobFile | None
    controls: Mapping[str, LogprobFile]
    refused: Mapping[str, str]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    cached: tuple[str, ...] = ()
    cache_fault: str | None = None
    layer_by_layer: Mapping[str, str] = field(default_factory=dict)
    unpacking: Unpacking | None = None
    half_dtype: Dtype = "bfloat16"


@dataclass(frozen=True, slots=True)
class Store:
    """Where references are kept, and whose they are."""

    cache: Cache
    subject: Subject


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What is to be replayed: the completions of `run`, by the model in a folder and by its controls."""

    model: Path
    kind: Kind
    controls: tuple[Variation, ...]
    size: Size
    run: EngineRun

    @property
    def half(self) -> Dtype:
        """What the engine rounds to, as far as there is a noise floor of it; bf16 for everything else."""
        return "float16" if self.run.settings.dtype == "float16" else "bfloat16"

    def completions(self) -> tuple[Replayed, ...]:
        """Prompt and tokens of every completion that was measured."""
        pictures = self.run.pictures
        return tuple(
            Replayed(n, self.run.prompt_ids[n], tokens, pictures.get(n))
            for n, tokens in self.run.measured.items()
        )


def start(folder: Path) -> AbstractContextManager[child.Waiting]:
    """A child that imports torch and transformers, which gets its job later."""
    return child.started(_MODULE, folder, CPU_ONLY)


def run(
    request: ReplayRequest,
    folder: Path,
    timeout_s: float,
    progress: child.Stage | None = None,
    store: Store | None = None,
    waiting: child.Waiting | None = None,
) -> References | child.Failure:
    """Replays the completions in every variation that fits; a failure comes back as a value.

    folder: the child's, made here.
    store: what it holds is taken from there, and what is computed is kept there.
    waiting: a child that `start` has started under the same folder.
    """
    shelf = _Shelf(
        store,
        request.completions(),
        folder.with_name(f"{folder.name}-cached"),
        request.run.logprobs.vocabulary,
    )
    planned, ready = _plan(request, shelf)
    if not planned.variations:
        return child.Failure(
            "; ".join(f"{dtype} {why}" for dtype, why in planned.refused.items()), "planning"
        )
    missing = tuple(variation for variation in planned.variations if variation not in ready)
    started = time.monotonic()
    answer = ReferenceAnswer((), {}, {}, versions(cache.LIBRARIES))
    if missing:
        computed = _compute(_job(request, planned, missing), folder, timeout_s, progress, waiting)
        if isinstance(computed, child.Failure):
            return computed
        answer = computed
    done = {(one.name, one.dtype): folder / one.file for one in answer.done}
    fresh = {v: done[v.name, v.dtype] for v in missing if (v.name, v.dtype) in done}
    found = _references(planned, answer, ready, fresh, request.run.logprobs.vocabulary)
    seconds = {**answer.seconds, "whole": time.monotonic() - started}
    return replace(found, seconds=seconds, cache_fault=shelf.keep(fresh))


def _job(request: ReplayRequest, planned: ReplayPlan, missing: tuple[Variation, ...]) -> ReferenceJob:
    layered = tuple(dtype for dtype in WIDTHS if dtype in planned.layer_by_layer)
    model = str(request.model.resolve())
    return ReferenceJob(model, missing, request.completions(), layered, planned.no_second_opinion)


def _compute(
    job: ReferenceJob,
    folder: Path,
    timeout_s: float,
    progress: child.Stage | None,
    waiting: child.Waiting | None,
) -> ReferenceAnswer | child.Failure:
    with nullcontext(waiting) if waiting else start(folder) as worker:
        outcome = worker.run(job.to_json(), timeout_s, progress)
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "unknown")
    try:
        return ReferenceAnswer.from_json(outcome.result)
    except NotARecord as error:
        return child.Failure(f"partial output ({error})", "reading its answers")


def _references(
    planned: ReplayPlan,
    answer: ReferenceAnswer,
    ready: Mapping[Variation, Path],
    fresh: Mapping[Variation, Path],
    vocabulary: int,
) -> References:
    """ready: files from the cache. fresh: those that were computed now."""
    paths = {**ready, **fresh}
    files = {v: LogprobFile(paths[v], vocabulary) for v in planned.variations if v in paths}
    right = {v.dtype: file for v, file in files.items() if v.name == "reference"}
    half: Dtype = "float16" if any(v.dtype == "float16" for v in planned.variations) else "bfloat16"
    computed = {v.dtype for v in planned.variations if v not in ready}
    return References(
        full=right.get("float32"),
        half=right.get(half),
        controls={v.name: file for v, file in files.items() if v.name != "reference"},
        refused={**planned.refused, **answer.impossible},
        seconds=answer.seconds,
        versions=answer.versions,
        cached=tuple(f"{v.name} {v.dtype}" for v in planned.variations if v in ready),
        layer_by_layer={d: why for d, why in planned.layer_by_layer.items() if d in computed},
        half_dtype=half,
        unpacking=_unpacking([file.path for file in right.values()]),
    )


def _unpacking(files: Sequence[Path]) -> Unpacking | None:
    """What the files of right references say of packed weights; of several the one that was compared most widely."""
    said: list[Unpacking] = []
    for path in files:
        with open_named(path) as file:
            stated = read_safetensors(file).metadata.get(UNPACKING)
        if stated is not None:
            said.append(Unpacking.from_json(parse_object(stated.encode())))
    return max(said, key=lambda one: one.compared, default=None)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The store as one run sees it; without a store it is empty and stays so."""

    store: Store | None
    completions: tuple[Replayed, ...]
    folder: Path
    vocabulary: int

    def fetch(self, variations: Sequence[Variation]) -> dict[Variation, Path]:
        """The files of those variations that the store holds."""
        if self.store is None:
            return {}
        targets = {v: self.folder / f"{v.name}-{v.dtype}.safetensors" for v in variations}
        return {
            v: path
            for v, path in targets.items()
            if self.store.cache.fetch(self._key(v), path, partial(self._is_whole, v))
        }

    def _is_whole(self, variation: Variation, path: Path) -> bool:
        """Whether a file has the rows of every completion that is replayed in this variation."""
        positions = {one.prompt: len(one.tokens) for one in of_variation(variation, self.completions)}
        try:
            return LogprobFile(path, self.vocabulary).fault(positions) is None
        except WeightsmithError:
            return False

    def keep(self, fresh: Mapping[Variation, Path]) -> str | None:
        """Why something could not be kept."""
        if self.store is None:
            return None
        reasons = [self.store.cache.keep(self._key(v), path) for v, path in fresh.items()]
        failed = sorted({reason for reason in reasons if reason is not None})
        return "; ".join(failed) or None

    def _key(self, variation: Variation) -> str:
        assert self.store is not None
        return cache.key(self.store.subject, variation, self.completions)


def _plan(request: ReplayRequest, shelf: _Shelf) -> tuple[ReplayPlan, dict[Variation, Path]]:
    """The plan, and the files of what need not be computed: what the cache holds need not fit the memory."""
    half = request.half
    everything = plan(request.kind, request.controls, half=half).variations
    ready = shelf.fetch(everything)
    at_hand = {dtype for dtype in WIDTHS if all(v in ready for v in everything if v.dtype == dtype)}
    lacking = lacking_for_layers(request.size.packed)
    planned = plan(request.kind, request.controls, request.size, free_memory(), at_hand, lacking, half)
    return planned, ready | shelf.fetch([v for v in planned.variations if v not in everything])


def lacking_for_layers(packed: bool) -> str:
    """What a replay layer by layer lacks on this machine, in words; empty where it lacks nothing."""
    found = versions((_LAYER_LOADER, "transformers"))
    if _LAYER_LOADER not in found:
        return f"pip install {_LAYER_LOADER}"
    if packed and found.get("transformers", "").startswith("4."):
        return f"packed weights need transformers 5 for that; {_A_PLAIN_COPY}"
    return ""
