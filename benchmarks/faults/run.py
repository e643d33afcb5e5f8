"""Runs the cases: each in a folder of its own, the cheapest command first, until one names the fault."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from benchmarks.faults import findings, injection, models
from benchmarks.faults.case import CleanResult, Finding, Outcome, Result
from benchmarks.faults.command_line import weightsmith

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.faults.case import Clean, Fault, Model
    from benchmarks.faults.command_line import Done
    from benchmarks.faults.warm import Warm

_MODEL = "model"
_VERIFY = ("verify-on-npu", _MODEL, "--device", "cpu")
_INFER, _INSPECT = ("infer-config", _MODEL), ("inspect", _MODEL, "--values")


@dataclass(frozen=True, slots=True)
class Bench:
    """How one run is made. root: an empty scratch folder. prompts: asked of every model. engine: False leaves
    verify-on-npu out: seconds instead of minutes, and what only behaviour shows is missed. warm: what has imported vLLM
    already, for verify-on-npu.
    """

    root: Path
    prompts: Path = models.PROMPTS
    engine: bool = True
    warm: Warm | None = None
    _one_at_a_time: Lock = field(default_factory=Lock)

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def _own(self) -> dict[str, str]:
        """Variables of every command: references cached by this run alone are used by this run alone.

        What vLLM keeps is about its own classes, and costs an import of all of it to find out anew.
        """
        kept = os.environ.get("VLLM_CACHE_ROOT", str(Path.home() / ".cache" / "vllm"))
        return {"XDG_CACHE_HOME": str(self.root / "cache"), "VLLM_CACHE_ROOT": kept}

    def prepare(self, wanted: Iterable[Model]) -> None:
        """Makes the sound models and the plugin that patches engines."""
        self.models.mkdir()
        injection.install(self.root / "plugin")
        for model in dict.fromkeys(wanted):
            models.make(model, self.models)

    def baseline(self, model: Model) -> Path:
        """What the sound model says, made when it is first wanted. A sound model that fails is the end."""
        path = self.root / f"{model}.baseline.safetensors"
        with self._one_at_a_time:
            if path.exists():
                return path
            models.make(model, self.models)
            step = ("verify-on-npu", model, "--device", "cpu", "--prompts", str(self.prompts))
            done = self._run([*step, "--save-baseline", str(path)], self.models, self._own)
        if done.code:
            raise RuntimeError(f"no baseline of {model}: {findings.read('verify-on-npu', done)}")
        return path

    def fault(self, fault: Fault) -> Result:
        """Without a baseline, then with one where that found nothing and the sound model has one."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self.root) as name:
            folder = Path(name)
            shutil.copytree(models.make(fault.model, self.models), folder / _MODEL)
            if fault.make is not None:
                fault.make(folder / _MODEL)
            patched = {**self._own, **fault.environment}
            if fault.patch is not None:
                patched |= injection.environment(self.root / "plugin", fault.patch)
            alone = until_named(fault, self._said(self._steps(fault), folder, patched), alone=True)
            kept = None
            if alone.caught is None and fault.patch is None:
                kept = until_named(
                    fault, self._said(self._steps_with_baseline(fault), folder, self._own), alone=False
                )
        return Result(fault, alone, kept, time.monotonic() - started)

    def clean(self, case: Clean) -> CleanResult:
        """Everything that any command says against a sound model; a converted copy must have its values."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self.root) as name:
            folder = Path(name)
            case.make(self.models, folder / _MODEL)
            steps = (
                _INFER,
                _INSPECT,
                ("convert", _MODEL, "copy", "--converter", "plain"),
                ("diff", _MODEL, "copy"),
                *self._verify(*case.options),
            )
            meant = {f"{name} is in one of the two only" for name in case.left_out}
            said = self._said(steps, folder, {**self._own, **case.environment})
            alarms = tuple(f for found in said for f in found if f.message not in meant | _asked_for(case, f))
        return CleanResult(case, alarms, time.monotonic() - started)

    def _said(
        self, steps: Iterable[tuple[str, ...]], folder: Path, environment: Mapping[str, str]
    ) -> Iterator[list[Finding]]:
        """What each command says, lazily: a command is run only when the ones before it were not enough."""
        for step in steps:
            done = self._run(step, folder, environment)
            said = findings.read(_shown(step), done)
            if done.code and not said:
                said = [Finding(_shown(step), "reader", f"exit {done.code}", " ".join(done.errors[-1:]))]
            yield said

    def _run(self, step: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Done:
        if self.warm is not None and step[0] == "verify-on-npu":
            return self.warm.weightsmith(step, folder, environment)
        return weightsmith(step, folder, environment)

    def _verify(self, *more: str, all_prompts: bool = False) -> list[tuple[str, ...]]:
        asked = () if all_prompts else ("--prompts", str(self.prompts))
        return [(*_VERIFY, *asked, *more)] if self.engine else []

    def _steps(self, fault: Fault) -> list[tuple[str, ...]]:
        """Cheapest first. A conversion that is itself the mistake comes before the long way."""
        limit = () if fault.engine_timeout is None else ("--engine-timeout", str(fault.engine_timeout))
        convert = [("convert", _MODEL, "out", *fault.convert)] if fault.convert else []
        # What the files say of themselves is what they say of the sound model: only the engine is wrong.
        files = [] if fault.make is None and not fault.convert and fault.patch else [_INFER, _INSPECT]
        return [*files, *convert, *self._verify(*limit, *fault.options, all_prompts=fault.all_prompts)]

    def _steps_with_baseline(self, fault: Fault) -> list[tuple[str, ...]]:
        twin = sound_twin(fault.model)
        if fault.command == "diff":
            return [("diff", _MODEL, f"../models/{twin}")]
        if not self.engine:
            return []
        return self._verify("--reference", f"../{self.baseline(twin).name}", *fault.options)


def _asked_for(case: Clean, finding: Finding) -> set[str]:
    """What is said of a case that asks for no reference: that there is none."""
    none = "none" in case.options and finding.message.startswith("parity: no reference was run")
    return {finding.message} if none else set()


def sound_twin(model: Model) -> Model:
    """The sound model whose baseline a faulty one is measured against; the latent one's is its fused self."""
    return "fused" if model in {"latent", "handed"} else model


def _by_chance(fault: Fault, finding: Finding) -> bool:
    """A fault in the files that the reference shares: where the two still differ, it is by rounding, near a limit."""
    return fault.baseline and finding.message.startswith("parity.")


def until_named(fault: Fault, said: Iterable[list[Finding]], *, alone: bool) -> Outcome:
    """Takes findings until one names the fault. A problem beside an exit code of 0 counts: it was said."""
    noticed: list[Finding] = []
    for found in said:
        for finding in found:
            if re.search(fault.names, finding.message) and not (alone and _by_chance(fault, finding)):
                return Outcome(finding, tuple(noticed))
        noticed += found
    return Outcome(None, tuple(noticed))


def _shown(step: tuple[str, ...]) -> str:
    """A command line as the table shows it: without folders and what every case has."""
    words = step[2 : step.index("--")] if "--" in step else step[2:]
    own = [word for word in words if word.startswith("--") and word not in {"--device", "--prompts"}]
    return " ".join([step[0], *own])
