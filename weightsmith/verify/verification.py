"""One verification from end to end: files, device, engine, reference, judgement; nothing is measured or judged here."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import MissingInput, TargetRefused
from weightsmith.process.child import Failure
from weightsmith.process.signals import unwound_by_signals
from weightsmith.report import verification
from weightsmith.verify.engine import device as devices
from weightsmith.verify.inputs import files
from weightsmith.verify.inputs.kinds import kind_of
from weightsmith.verify.inputs.latent import find_latent
from weightsmith.verify.inputs.prompts import BUILT_IN, load_prompts
from weightsmith.verify.judge import gates
from weightsmith.verify.judge.conclude import conclude
from weightsmith.verify.measure import baseline
from weightsmith.verify.steps import Step

if TYPE_CHECKING:
    from weightsmith.process.child import Stage
    from weightsmith.verify.options import Options
    from weightsmith.verify.result import VerifyResult


def verify(model: Path, options: Options, progress: Stage | None = None) -> VerifyResult:
    """Runs a model folder in the engine and judges it; writes `options.report` when one is asked for.

    The engine's own crash, hang or silence is a failed check. Raises MissingInput, MissingDevice, MissingPackage,
    EngineFailed (the engine's installation itself is broken), InvalidConfig (a baseline of other questions), what
    opening the checkpoint raises, and TargetRefused for a report or baseline that cannot be written.
    `progress` is told in a few words what begins, and how far it is. Ctrl-C and SIGTERM leave nothing behind.
    """
    tell: Stage = progress or (lambda text, done=0, total=0: None)
    started = time.monotonic()
    limits = gates.limits(options.gates)
    prompts = BUILT_IN if options.prompts is None else load_prompts(options.prompts)
    if not model.is_dir():
        raise MissingInput(
            model, "is no folder", "name the folder that holds config.json, weights and tokenizer"
        )
    for target in (options.report, options.save_baseline):
        _need_folder(target)
    kept = baseline.load(Path(options.reference)) if options.reference not in {"hf", "none"} else None
    tell("device: looking for it")
    device = devices.find(options.device)
    seconds = {"device": time.monotonic() - started}
    tell("files: reading headers, config and a sample of the values")
    heard = files.hear(model)
    latent = find_latent(model, options.latent)
    step = Step(model, kind_of(heard.config), heard, device, prompts, options, latent, tell)
    here = step.identity(kept)
    seconds["files"] = time.monotonic() - started - seconds["device"]
    with (
        unwound_by_signals(),
        tempfile.TemporaryDirectory(prefix="weightsmith-verify-") as name,
        step.reference_ahead(Path(name, "reference"), here) as ahead,
    ):
        run = step.engine(Path(name))
        if isinstance(run, Failure | None):
            seen = step.observed(run)
        else:
            seen = step.compare(run, kept, here, ahead, Path(name, "reference"), seconds)
            if options.save_baseline is not None and here is not None:
                twin = None if isinstance(seen.reference, Failure) else seen.reference
                baseline.save(options.save_baseline, here, device.name, run, twin)
    seconds["whole"] = time.monotonic() - started
    result = conclude(seen, limits, options.command, seconds)
    return result if options.report is None else verification.write(result, options.report)


def _need_folder(target: Path | None) -> None:
    """Refuses an output that could not be written, before an hour of work and not after it."""
    if target is not None and not target.resolve().parent.is_dir():
        raise TargetRefused(target, "its folder does not exist", "make the folder or name another file")
    if target is not None and target.is_dir():
        raise TargetRefused(target, "is a folder", "name a file in it")
