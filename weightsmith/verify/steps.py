"""The steps of one verification: what each is given, in the order in which `run.verify` takes them."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.errors import EngineFailed
from weightsmith.process.child import Failure
from weightsmith.verify.engine import device as devices
from weightsmith.verify.engine import engine as engines
from weightsmith.verify.inputs.kinds import controls
from weightsmith.verify.judge.conclude import Against, Observed
from weightsmith.verify.measure import baseline, health, parity
from weightsmith.verify.reference import cache, replay
from weightsmith.verify.reference.replay import Store

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from weightsmith.process.child import Stage, Waiting
    from weightsmith.verify.engine.device import Device
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.inputs.files import Files
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.latent import Latent
    from weightsmith.verify.inputs.prompts import Prompt
    from weightsmith.verify.measure.baseline import Baseline, Identity
    from weightsmith.verify.measure.health import Spread
    from weightsmith.verify.measure.parity import Parity
    from weightsmith.verify.options import Options
    from weightsmith.verify.reference.replay import References


@dataclass(frozen=True, slots=True)
class Step:
    """What the steps of one run share."""

    model: Path
    kind: Kind
    files: Files
    device: Device
    prompts: tuple[Prompt, ...]
    options: Options
    latent: Latent | None
    tell: Stage

    def identity(self, kept: Baseline | None) -> Identity | None:
        """Hashes, where a baseline or the cache asks for them; refuses a baseline of other questions at once."""
        cached = self.options.reference == "hf" and self.options.cache
        if kept is None and self.options.save_baseline is None and not cached:
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
        found = engines.run(task, folder / "engine", self.options.engine_timeout, self._telling("engine"))
        if isinstance(found, Failure):
            if found.unusable:
                way_out = "mend its installation (docs/engines.md)"
                raise EngineFailed("vllm", found.sentence(), way_out)
            return found
        why_not = engines.graphs(self.device.kind, self.kind, found)
        if why_not is None:
            twin = engines.run_eager(
                task, folder / "eager", self.options.engine_timeout, self._telling("engine, eager")
            )
            if isinstance(twin, Failure):
                return replace(found, failed={"eager": f"in eager mode: {twin.sentence()}"})
            return replace(found, runs={**found.runs, "eager": twin})
        return replace(found, settings={**found.settings, "eager_and_graphs": why_not})

    def reference_ahead(self, folder: Path, here: Identity | None) -> AbstractContextManager[Waiting | None]:
        """The reference's process, importing while the engine loads; none where none will be needed."""
        known = (store := self._store(here)) is not None and store.cache.knows(store.subject)
        if known or not self.files.runnable or self.options.reference != "hf":
            return nullcontext()
        return replay.start(folder)

    def compare(
        self,
        run: EngineRun,
        kept: Baseline | None,
        here: Identity | None,
        ahead: Waiting | None,
        folder: Path,
        seconds: dict[str, float],
    ) -> Observed:
        """Reference, then figures. A baseline's own replays stand in for a reference run here."""
        twin = self.reference(run, here, ahead, folder) if kept is None else kept.references()
        started = time.monotonic()
        positions = against = None
        if kept is not None and here is not None:
            baseline.need_same_tokens(kept, run)
            positions = kept.comparable(run.measured)
            against = Against(
                kept, here, positions, health.spread(kept.device_logprobs(), tuple(kept.tokens))
            )
        self.tell("comparing")
        measured = None
        if not isinstance(twin, Failure | None):
            other = None if kept is None else kept.device_logprobs()
            measured = parity.measure(run, twin, self.kind.perplexity, other, positions)
        spread = health.spread(run.logprobs, tuple(run.measured))
        seconds["comparing"] = time.monotonic() - started
        return self.observed(run, twin, measured, spread, against)

    def reference(
        self, run: EngineRun, here: Identity | None, ahead: Waiting | None, folder: Path
    ) -> References | Failure | None:
        """None when nobody asked for one."""
        if self.options.reference != "hf":
            return None
        latent, ternary = self.latent, self.files.fusion in {"fused", "packed"}
        wrong, left_out = controls(
            self.kind, self.files.config, None if latent is None else latent.folder, ternary
        )
        found = replay.run(
            self.model,
            self.kind,
            wrong,
            run,
            self.files.size,
            folder,
            self.options.reference_timeout,
            self._telling("reference"),
            self._store(here),
            ahead,
        )
        if isinstance(found, Failure):
            return found
        return replace(found, refused={**left_out, **found.refused})

    def _store(self, here: Identity | None) -> Store | None:
        found = cache.default() if self.options.cache and here is not None else None
        if found is None or here is None:
            return None
        latent = {} if self.latent is None else self.latent.hashes
        return Store(found, cache.subject(self.model, here.weights, latent, devices.cpu_name()))

    def _telling(self, who: str) -> Stage:
        return lambda text, done=0, total=0, /: self.tell(f"{who}: {text}", done, total)

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
