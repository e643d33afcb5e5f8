"""The steps of one verification: what each is given, in the order in which `verify` takes them."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weightsmith.installed import versions
from weightsmith.process.child import Failure
from weightsmith.verify import at_server, known_texts
from weightsmith.verify.engine import device as devices
from weightsmith.verify.engine import engine as engines
from weightsmith.verify.inputs.kinds import OTHER_PICTURE, controls
from weightsmith.verify.inputs.pictures import QUESTION, sees
from weightsmith.verify.inputs.prompts import Prompt
from weightsmith.verify.judge.conclude import Against, Observed
from weightsmith.verify.measure import answers, baseline, health, parity
from weightsmith.verify.reference import cache, replay
from weightsmith.verify.reference.replay import ReplayRequest, Store
from weightsmith.verify.tasks import tasks
from weightsmith.verify.tasks.expected import Expected

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from weightsmith.process.child import Stage, Waiting
    from weightsmith.verify.engine.device import Device
    from weightsmith.verify.engine.engine import EngineRun, Other
    from weightsmith.verify.engine.engine_job import EngineJob
    from weightsmith.verify.inputs.files import Files
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.latent import Latent
    from weightsmith.verify.inputs.tokens import Completion, PassResult
    from weightsmith.verify.known_texts import KnownTexts
    from weightsmith.verify.measure.baseline import Baseline, Identity
    from weightsmith.verify.options import Options
    from weightsmith.verify.reference.replay import References


@dataclass(frozen=True, slots=True)
class Steps:
    """What the steps of one verification share.

    tell: called with what begins, and how far it is. expected: of tasks and loads.
    """

    model: Path
    kind: Kind
    files: Files
    device: Device
    prompts: tuple[Prompt, ...]
    options: Options
    latent: Latent | None
    tell: Stage
    expected: Expected = field(default_factory=Expected)

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
        if self.options.tasks:
            prefix = self.kind.mask == "prefix"
            tasks.look(self.options.tasks, folder / "look", prefix_lm=prefix, tell=self.telling("tasks"))
        with self._reference_ahead(folder / "reference", here) as ahead:
            run = self._engine(folder)
            if isinstance(run, Failure | None):
                return self.observed(run)
            references = self._references(run, kept, here, ahead, folder / "reference")
            served = at_server.serve(self, run, folder / "server") if self.options.at_server else None
            seen = replace(
                self.compare(run, references, kept, here), served=served, known_texts=self._known_texts()
            )
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
        bond = answers.bond(run.logprobs, run.measured, dict(enumerate(run.prompt_ids[: len(self.prompts)])))
        return replace(
            self.observed(run),
            reference=references,
            parity=measured,
            spread=spread,
            bond=bond,
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
            self.model,
            self.files.nbytes,
            self.files.max_positions,
            self.files.text_only,
            sees(self.files.config),
        )
        texts = [prompt.text for prompt in self.prompts]
        task = engines.job(
            model, self.device.kind, self.kind, texts, options.max_tokens, options.max_logprobs, asked
        )
        found = engines.run(task, folder / "engine", options.engine_timeout, self.telling("engine"))
        if isinstance(found, Failure):
            return engines.engines_own(_with_missing(found) if model.sees else found)
        return self._with_others(found, task, folder)

    def _with_others(self, found: EngineRun, task: EngineJob, folder: Path) -> EngineRun:
        """The run with a pass of each engine that is like it but for one thing."""
        chosen, left_out = engines.others(task, self.kind, found, squeeze=self.options.preemption)
        passes, failed = dict(found.passes), dict(found.failed)
        for other in chosen:
            progress = self.telling(f"engine, {other.name}")
            run = engines.run_other(task, other, folder / other.name, self.options.engine_timeout, progress)
            if isinstance(run, Failure):
                (left_out if _is_too_small(other, run) else failed)[other.name] = run.sentence()
            elif other.crowded and not run.settings.preemptions:
                left_out[other.name] = f"no request was, with {run.settings.kv_blocks} blocks of KV cache"
            else:
                passes[other.name] = of_the_same_prompts(run, found)
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
        wrong += (OTHER_PICTURE,) if run.pictures else ()
        found = replay.run(
            ReplayRequest(self.model, self.kind, wrong, self.files.size, run),
            folder,
            self.options.reference_timeout,
            self.telling("reference"),
            self._store(here),
            ahead,
        )
        if isinstance(found, Failure):
            return found
        return replace(found, refused={**left_out, **found.refused})

    def _known_texts(self) -> KnownTexts | None:
        """None where none are asked: a baseline knows better, and without a reference nothing is run here."""
        if not self.options.known_texts or self.options.reference != "hf":
            return None
        return known_texts.asked(self.model, self.files.config, self.prompts, self.telling(known_texts.NAME))

    def _store(self, here: Identity | None) -> Store | None:
        found = cache.default() if self.options.cache and here is not None else None
        if found is None or here is None:
            return None
        latent = {} if self.latent is None else self.latent.hashes
        return Store(found, cache.subject(self.model, here.weights, latent, devices.cpu_name()))

    def telling(self, who: str) -> Stage:
        """What a part of the work tells, with its name before it."""
        return lambda text, done=0, total=0, /: self.tell(f"{who}: {text}", done, total)

    def observed(self, run: EngineRun | Failure | None) -> Observed:
        """A run that nothing has been compared with yet; None where the files forbade one."""
        made: dict[int, str] = {}
        if not isinstance(run, Failure | None):
            made = {**run.sized, **{n: f"{one.name}: {QUESTION}" for n, one in run.pictures.items()}}
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
            expected=self.expected,
        )


def _with_missing(found: Failure) -> Failure:
    """A failure with what is not installed, since vLLM says of such a model only that it could not be inspected."""
    if versions(("torchvision",)):
        return found
    words = "torchvision is not installed, which vLLM needs for most models that take pictures"
    return replace(found, what=f"{found.what} ({words})")


def _is_too_small(other: Other, failure: Failure) -> bool:
    """Whether a cache was too small for an engine to start, which is no fault of the engine's.

    One that has started and then fails, while requests push each other out, would fail the users as well.
    """
    return other.crowded and not failure.stage.startswith(("answering", "reading its answers"))


def of_the_same_prompts(other: EngineRun, first: EngineRun) -> PassResult:
    """The other engine's pass, by the first one's numbers, without prompts that were made to another size.

    An engine of another size has fewer or more of those, and then other numbers for the same prompts behind them. Two
    that are alike, as prompts with different pictures may be, have the same number in both.
    """
    one = other.passes["batch"]
    numbers = {ids: n for n, ids in reversed(list(enumerate(first.prompt_ids)))}
    kept: dict[int, Completion] = {}
    for n, completion in one.completions.items():
        ids = other.prompt_ids[n]
        number = n if first.prompt_ids[n : n + 1] == (ids,) else numbers.get(ids)
        if number is not None:
            kept.setdefault(number, completion)
    return replace(one, completions=kept, engine_seconds=other.seconds.whole)
