"""One verification from end to end: files, device, engine, reference, judgement; nothing is measured or judged here."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import EngineFailed, MissingInput, TargetRefused
from weightsmith.verify import baseline, files, gates, health, parity, reference, report
from weightsmith.verify import device as devices
from weightsmith.verify import engine as engines
from weightsmith.verify.child import Failure
from weightsmith.verify.conclude import Against, Observed, conclude
from weightsmith.verify.kinds import kind_of
from weightsmith.verify.prompts import BUILT_IN, load_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.verify.baseline import Baseline, Identity
    from weightsmith.verify.device import Asked, Device
    from weightsmith.verify.engine import EngineRun
    from weightsmith.verify.files import Files
    from weightsmith.verify.health import Spread
    from weightsmith.verify.kinds import Kind
    from weightsmith.verify.parity import Parity
    from weightsmith.verify.prompts import Prompt
    from weightsmith.verify.reference import References
    from weightsmith.verify.result import VerifyResult

    Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user may choose.

    reference: "hf" (transformers on the CPU), "none", or a baseline file. max_tokens: of each answer.
    max_logprobs: log-probabilities at each position, -1 for the whole vocabulary. gates: own limits by gate name.
    command: the command line, for the report. Timeouts in seconds.
    """

    device: Asked = "auto"
    reference: str | Path = "hf"
    prompts: Path | None = None
    save_baseline: Path | None = None
    report: Path | None = None
    max_tokens: int = 32
    max_logprobs: int = -1
    gates: Mapping[str, float] = field(default_factory=dict)
    engine_timeout: float = 3600.0
    reference_timeout: float = 3600.0
    command: str = ""


def verify(model: Path, options: Options, progress: Progress | None = None) -> VerifyResult:
    """Runs a model folder in the engine and judges it; writes `options.report` when one is asked for.

    The engine's own crash, hang or silence is a failed check. Raises MissingInput, MissingDevice, MissingPackage,
    EngineFailed (the engine's installation itself is broken), InvalidConfig (a baseline of other questions), what
    opening the checkpoint raises, and TargetRefused for a report or baseline that cannot be written.
    `progress` is told in a few words what begins.
    """
    tell = progress or (lambda text: None)
    limits = gates.limits(options.gates)
    prompts = BUILT_IN if options.prompts is None else load_prompts(options.prompts)
    if not model.is_dir():
        raise MissingInput(
            model, "is no folder", "name the folder that holds config.json, weights and tokenizer"
        )
    for target in (options.report, options.save_baseline):
        _need_folder(target)
    kept = baseline.load(Path(options.reference)) if options.reference not in {"hf", "none"} else None
    device = devices.find(options.device)
    started = time.monotonic()
    tell("files: reading headers, config and a sample of the values")
    heard = files.hear(model)
    step = _Step(model, kind_of(heard.config), heard, device, prompts, options, tell)
    here = step.identity(kept)
    seconds = {"files": time.monotonic() - started}
    with tempfile.TemporaryDirectory(prefix="weightsmith-verify-") as name:
        run = step.engine(Path(name, "engine"))
        if isinstance(run, Failure | None):
            seen = step.observed(run)
        else:
            seen = step.compare(run, kept, here, Path(name, "reference"))
            if options.save_baseline is not None and here is not None:
                twin = None if isinstance(seen.reference, Failure) else seen.reference
                baseline.save(options.save_baseline, here, device.name, run, twin)
    seconds["whole"] = time.monotonic() - started
    result = conclude(seen, limits, options.command, seconds)
    return result if options.report is None else report.write(result, options.report)


def _need_folder(target: Path | None) -> None:
    """Refuses an output that could not be written, before an hour of work and not after it."""
    if target is not None and not target.resolve().parent.is_dir():
        raise TargetRefused(target, "its folder does not exist", "make the folder or name another file")
    if target is not None and target.is_dir():
        raise TargetRefused(target, "is a folder", "name a file in it")


@dataclass(frozen=True, slots=True)
class _Step:
    """What the steps of one run share."""

    model: Path
    kind: Kind
    files: Files
    device: Device
    prompts: tuple[Prompt, ...]
    options: Options
    tell: Progress

    def identity(self, kept: Baseline | None) -> Identity | None:
        """Hashes, where a baseline is to be compared with or written; refuses one of other questions at once."""
        if kept is None and self.options.save_baseline is None:
            return None
        self.tell("files: hashing weights and tokenizer")
        here = baseline.identify(self.model, self.kind, self.prompts, self.files.weights)
        if kept is not None:
            baseline.need_same_questions(kept, here)
        return here

    def engine(self, folder: Path) -> EngineRun | Failure | None:
        """None when the files are such that an engine would only crash on them or load garbage."""
        if not self.files.runnable:
            return None
        texts = [prompt.text for prompt in self.prompts]
        positions = self.files.config.get("max_position_embeddings")
        task = engines.job(
            self.model,
            self.device.kind,
            self.kind,
            texts,
            self.options.max_tokens,
            positions if isinstance(positions, int) else None,
            self.files.nbytes,
            self.options.max_logprobs,
        )
        found = engines.run(
            task, folder, self.options.engine_timeout, lambda text: self.tell(f"engine: {text}")
        )
        if isinstance(found, Failure) and found.unusable:
            way_out = "mend its installation (docs/engines.md)"
            raise EngineFailed("vllm", found.sentence(), way_out)
        return found

    def compare(self, run: EngineRun, kept: Baseline | None, here: Identity | None, folder: Path) -> Observed:
        """Reference, then figures. A baseline's own replays stand in for a reference run here."""
        twin = self.reference(run, folder) if kept is None else kept.references()
        positions = against = None
        if kept is not None and here is not None:
            baseline.need_same_tokens(kept, run)
            positions = kept.comparable(run.measured)
            against = Against(kept, here, positions)
        self.tell("comparing")
        measured = None
        if not isinstance(twin, Failure | None):
            other = None if kept is None else kept.device_logprobs()
            measured = parity.measure(run, twin, self.kind.perplexity, other, positions)
        spread = health.spread(run.logprobs, tuple(run.measured))
        return self.observed(run, twin, measured, spread, against)

    def reference(self, run: EngineRun, folder: Path) -> References | Failure | None:
        """None when nobody asked for one."""
        if self.options.reference != "hf":
            return None
        return reference.run(
            self.model,
            self.kind,
            run,
            self.files.parameters,
            folder,
            self.options.reference_timeout,
            lambda text: self.tell(f"reference: {text}"),
        )

    def observed(
        self,
        run: EngineRun | Failure | None,
        twin: References | Failure | None = None,
        measured: Parity | None = None,
        spread: Spread | None = None,
        against: Against | None = None,
    ) -> Observed:
        return Observed(
            model=self.model,
            device=self.device,
            kind=self.kind,
            files=self.files,
            prompts=self.prompts,
            engine=run,
            reference=twin,
            parity=measured,
            spread=spread,
            against=against,
            reference_asked=str(self.options.reference),
        )
