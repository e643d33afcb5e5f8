"""One verification from end to end: files, device, engine, reference, verdicts. Each of them is a step of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.file_bytes import need_folder
from weightsmith.checkpoint.model_files import weights_in
from weightsmith.process.scratch import scratch_folder
from weightsmith.process.signals import unwound_by_signals
from weightsmith.process.targets import need_other, need_writable
from weightsmith.verify import pooled
from weightsmith.verify.engine import device as devices
from weightsmith.verify.inputs.files import inspect_files
from weightsmith.verify.inputs.kinds import Template, kind_of, need_verifiable
from weightsmith.verify.inputs.latent import find_latent
from weightsmith.verify.inputs.pooling import pooling_of
from weightsmith.verify.inputs.prompts import BUILT_IN, load_prompts
from weightsmith.verify.judge import gates
from weightsmith.verify.judge.conclude import conclude, sampled
from weightsmith.verify.measure import baseline
from weightsmith.verify.steps import Steps
from weightsmith.verify.tasks import tasks
from weightsmith.verify.tasks.expected import read as read_expected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.process.child import Stage
    from weightsmith.verify.engine.device import Device
    from weightsmith.verify.inputs.files import Files
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.pooling import Pooling
    from weightsmith.verify.options import Options
    from weightsmith.verify.result import VerifyResult


def verify(model: Path, options: Options, progress: Stage | None = None) -> VerifyResult:
    """Runs a model folder in the engine and judges it. `weightsmith.report` makes a report of the result.

    The engine's own crash, hang or silence is a failed check. Raises MissingInput, MissingDevice, MissingPackage,
    EngineFailed (the engine's installation itself is broken), InvalidConfig (a baseline of other questions), what
    opening the checkpoint raises, and TargetRefused for a baseline that cannot be written.
    `progress` is told in a few words what begins, and how far it is. Ctrl-C and SIGTERM leave nothing behind.
    """
    tell: Stage = progress or (lambda text, done=0, total=0: None)
    started = time.monotonic()
    limits = gates.limits(options.gates)
    prompts = BUILT_IN if options.prompts is None else load_prompts(options.prompts)
    need_folder(model, "name the folder that holds config.json, weights and tokenizer")
    _need_place_for_a_baseline(options.save_baseline, model)
    options = replace(options, tasks=tasks.found(options.tasks, model))
    expected = read_expected(options.baselines, options.tasks, options.tolerance)
    kept = baseline.load(Path(options.reference)) if options.reference not in {"hf", "none"} else None
    tell("device: looking for it")
    device = devices.find(options.device)
    seconds = {"device": time.monotonic() - started}
    tell("files: reading headers, config and a sample of the values")
    files = inspect_files(model)
    how = _way_to_vectors(model, files, device, options)
    latent, kind = find_latent(model, options.latent), _kind(files, options)
    steps = Steps(model, kind, files, device, prompts, options, latent, tell, expected)
    if how is not None:
        return _of_vectors(steps, how, limits, seconds, started)
    here = steps.identity(kept)
    seconds["files"] = time.monotonic() - started - seconds["device"]
    with unwound_by_signals(), scratch_folder("weightsmith-verify-") as folder:
        seen = steps.observe(folder, kept, here)
        hashes = {} if here is None else {**here.weights, **here.tokenizer}
        seen = replace(seen, chosen=sampled(seen), hashes=hashes)
    if seen.comparing_seconds is not None:
        seconds["comparing"] = seen.comparing_seconds
    seconds["whole"] = time.monotonic() - started
    return conclude(seen, limits, options.command, seconds)


def _need_place_for_a_baseline(path: Path | None, model: Path) -> None:
    if path is not None:
        need_writable(path)
        need_other(path, weights_in(model))


def _kind(files: Files, options: Options) -> Kind:
    kind = kind_of(files.config)
    return replace(kind, template=Template()) if options.conditions == "none" else kind


def _of_vectors(
    steps: Steps, how: Pooling, limits: Mapping[str, float], seconds: Mapping[str, float], started: float
) -> VerifyResult:
    files = time.monotonic() - started - seconds["device"]
    with unwound_by_signals(), scratch_folder("weightsmith-verify-") as folder:
        found = pooled.verify(steps, how, folder, limits)
    return replace(
        found, seconds={**seconds, "files": files, **found.seconds, "whole": time.monotonic() - started}
    )


def _way_to_vectors(model: Path, files: Files, device: Device, options: Options) -> Pooling | None:
    """How a model makes vectors, None for one that answers with text.

    Raises MissingPackage and Usage for what cannot be verified here, before anything is loaded.
    """
    devices.need_served(device, files.config.get("model_type"))
    how = pooling_of(model, files.config, options.arguments)
    if how is None:
        need_verifiable(model, files.config)
    else:
        pooled.need_possible(options)
    return how
