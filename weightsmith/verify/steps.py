"""The steps of one verification: what each is given, in the order in which `verify` takes them."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.errors import EngineFailed, Usage
from weightsmith.guide import guide
from weightsmith.process.child import Failure
from weightsmith.verify.engine import device as devices
from weightsmith.verify.engine import engine as engines
from weightsmith.verify.engine import server
from weightsmith.verify.inputs.kinds import controls
from weightsmith.verify.inputs.prompts import Prompt
from weightsmith.verify.judge.conclude import Against, Observed
from weightsmith.verify.measure import baseline, health, parity
from weightsmith.verify.reference import cache, replay
from weightsmith.verify.reference.replay import ReplayRequest, Store

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from weightsmith.process.child import Stage, Waiting
    from weightsmith.verify.engine.device import Device
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.engine.engine_job import EngineJob
    from weightsmith.verify.engine.server_job import Served
    from weightsmith.verify.inputs.files import Files
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.latent import Latent
    from weightsmith.verify.inputs.tokens import PassResult
    from weightsmith.verify.measure.baseline import Baseline, Identity
    from weightsmith.verify.options import Options
    from weightsmith.verify.reference.replay import References


@dataclass(frozen=True, slots=True)
class Steps:
    """What the steps of one verification share. tell: called with what begins, and how far it is."""

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

    def observe(self, folder: Path, kept: Baseline | None, here: Identity | None) -> Observed:
        """Runs the engine, then compares it; saves a baseline where one is asked for.

        folder: where children and their files live; nothing in it is needed afterwards.
        kept: the baseline to compare with. here: what identifies this run.
        """
        with self._reference_ahead(folder / "reference", here) as ahead:
            run = self._engine(folder)
            if isinstance(run, Failure | None):
                return self.observed(run)
            references = self._references(run, kept, here, ahead, folder / "reference")
            served = self._served(run, folder / "server") if self.options.serve else None
            seen = replace(self.compare(run, references, kept, here), served=served)
        if self.options.save_baseline is not None and here is not None:
            usable = None if isinstance(references, Failure) else references
            baseline.save(self.options.save_baseline, here, self.device.name, run, usable)
        return seen

    def compare(
        self,
        run: EngineRun,
        references: References | Failure | None,
        kept: Baseline | None = None,
        here: Identity | None = None,
    ) -> Observed:
        """Figures of a run against its references, and against a baseline's device where there is one."""
        started = time.monotonic()
        against = None
        if kept is not None and here is not None:
            baseline.need_same_tokens(kept, run)
            spread = health.spread(kept.device_logprobs(), tuple(kept.tokens))
            against = Against(kept, here, kept.comparable(run), spread)
        self.tell("comparing")
        measured = None
        if not isinstance(references, Failure | None):
            other = None if kept is None else kept.device_logprobs()
            positions = None if against is None else against.positions
            measured = parity.measure(run, references, self.kind.perplexity, other, positions)
        spread = health.spread(run.logprobs, tuple(run.measured))
        return replace(
            self.observed(run),
            reference=references,
            parity=measured,
            spread=spread,
            against=against,
            comparing_seconds=time.monotonic() - started,
        )

    def _engine(self, folder: Path) -> EngineRun | Failure | None:
        """None when the files are such that an engine would only crash on them or load garbage."""
        if not self.files.runnable:
            return None
        options = self.options
        asked = engines.UserChoice(
            options.arguments,
            options.deterministic,
            devices.free_share(self.device),
            options.long_tokens,
        )
        model = engines.ModelFolder(
            self.model, self.files.nbytes, self.files.max_positions, self.files.text_only
        )
        texts = [prompt.text for prompt in self.prompts]
        task = engines.job(
            model, self.device.kind, self.kind, texts, options.max_tokens, options.max_logprobs, asked
        )
        found = engines.run(task, folder / "engine", options.engine_timeout, self._telling("engine"))
        if isinstance(found, Failure):
            return _engines_own(found)
        return self._with_others(found, task, folder)

    def _served(self, run: EngineRun, folder: Path) -> Served | Failure:
        """The same model in the same way behind the OpenAI-compatible server, which is asked what the engine was."""
        started = run.started
        words = server.words(self.model, started.arguments, started.added)
        first = run.passes["batch"].completions
        chat = None if run.chat is None else self.prompts[0].text
        questions = server.Questions({n: run.prompt_ids[n] for n in first}, self.options.max_tokens, chat)
        variables = engines.of_a_server(started.variables, folder)
        progress = self._telling("server")
        return server.run(words, questions, folder, variables, self.options.engine_timeout, progress)

    def _with_others(self, found: EngineRun, task: EngineJob, folder: Path) -> EngineRun:
        """The run with a pass of each engine that is like it but for one thing."""
        chosen, left_out = engines.others(task, self.kind, found, squeeze=self.options.preemption)
        passes, failed = dict(found.passes), dict(found.failed)
        for other in chosen:
            progress = self._telling(f"engine, {other.name}")
            run = engines.run_other(task, other, folder / other.name, self.options.engine_timeout, progress)
            if isinstance(run, Failure):
                # A cache that is too small for an engine is no fault of the engine's.
                (left_out if other.crowded else failed)[other.name] = run.sentence()
            elif other.crowded and not run.settings.preemptions:
                left_out[other.name] = f"no request was, with {run.settings.kv_blocks} blocks of KV cache"
            else:
                passes[other.name] = _of_the_same_prompts(run, found)
        return replace(
            found,
            passes=passes,
            failed=failed,
            not_run={**found.not_run, **left_out},
            eager_and_graphs=left_out.get("eager"),
        )

    def _reference_ahead(self, folder: Path, here: Identity | None) -> AbstractContextManager[Waiting | None]:
        """The reference's process, importing while the engine loads; none where none will be needed."""
        known = (store := self._store(here)) is not None and store.cache.knows(store.subject)
        if known or not self.files.runnable or self.options.reference != "hf":
            return nullcontext()
        return replay.start(folder)

    def _references(
        self,
        run: EngineRun,
        kept: Baseline | None,
        here: Identity | None,
        ahead: Waiting | None,
        folder: Path,
    ) -> References | Failure | None:
        """Of a baseline, which replaces a reference that is run here; else the latter; None when none is asked for."""
        if kept is not None:
            return kept.references()
        if self.options.reference != "hf":
            return None
        latent, ternary = self.latent, self.files.fusion in {"fused", "packed"}
        wrong, left_out = controls(
            self.kind, self.files.config, None if latent is None else latent.folder, ternary
        )
        found = replay.run(
            ReplayRequest(self.model, self.kind, wrong, self.files.size, run),
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

    def observed(self, run: EngineRun | Failure | None) -> Observed:
        """A run that nothing has been compared with yet; None where the files forbade one."""
        made = {} if isinstance(run, Failure | None) else run.sized
        sized = [Prompt(f"({made[n]})") for n in sorted(made)]
        return Observed(
            model=self.model,
            device=self.device,
            kind=self.kind,
            files=self.files,
            prompts=(*self.prompts, *sized),
            questions=len(self.prompts),
            reference_asked=str(self.options.reference),
            engine=run,
        )


def _of_the_same_prompts(other: EngineRun, first: EngineRun) -> PassResult:
    """The other engine's pass, without prompts that were made to another size than the first one's."""
    one = other.passes["batch"]
    both = min(len(first.prompt_ids), len(other.prompt_ids))
    same = {n for n in range(both) if first.prompt_ids[n] == other.prompt_ids[n]}
    kept = {n: completion for n, completion in one.completions.items() if n in same}
    return replace(one, completions=kept, engine_seconds=other.seconds.whole)


def _engines_own(found: Failure) -> Failure:
    """A failure that the model or the engine caused. Raises EngineFailed and Usage for the others."""
    if found.unusable:
        raise EngineFailed("vllm", found.sentence(), f"mend its installation ({guide('engines.md')})")
    if found.refused:
        raise Usage("the engine's arguments", found.what, "see `vllm serve --help=all`")
    return found
