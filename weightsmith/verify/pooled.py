"""One verification of a model that makes vectors instead of text: its engine, its reference, its checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.errors import Usage
from weightsmith.process.child import Failure
from weightsmith.verify.checks import Check
from weightsmith.verify.engine import device as devices
from weightsmith.verify.engine import engine as engines
from weightsmith.verify.engine import pooled as engine
from weightsmith.verify.engine.pooled_job import ACTIVATED
from weightsmith.verify.inputs.kinds import names_rope_base
from weightsmith.verify.inputs.pooling import POOLINGS
from weightsmith.verify.judge import gates, pooled, verdicts
from weightsmith.verify.judge.conclude import engine_check, model_facts
from weightsmith.verify.measure import vectors
from weightsmith.verify.reference import pooled as reference
from weightsmith.verify.reference.pooled_job import PooledReferenceJob, variations
from weightsmith.verify.result import EngineFacts, VectorFacts, VectorRow, VerifyResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from weightsmith.verify.engine.pooled import PooledRun
    from weightsmith.verify.inputs.kinds import Dtype
    from weightsmith.verify.inputs.pooling import Pooling
    from weightsmith.verify.measure.vectors import VectorNoise, VectorPair
    from weightsmith.verify.options import Options
    from weightsmith.verify.reference.pooled import PooledReferences
    from weightsmith.verify.steps import Steps

# Of the user's options, what there is not for vectors.
_SERVER = "the server of a model that makes vectors is not asked yet"


def need_possible(options: Options) -> None:
    """Raises Usage for what is asked of generated text only."""
    if options.save_baseline is not None or options.reference not in {"hf", "none"}:
        fact = "keeps log-probabilities of tokens, and this model makes vectors"
        raise Usage("a baseline", fact, "leave out --save-baseline, and let --reference be hf or none")
    if options.tasks or options.bench:
        fact = "ask a server for text, and this model makes vectors"
        raise Usage("--task and --bench", fact, "leave them out")


def verify(steps: Steps, how: Pooling, folder: Path, limits: Mapping[str, float]) -> VerifyResult:
    """Asks the engine for vectors in every arrangement, then compares them with the reference's."""
    model = model_facts(steps.model, how.task, steps.files, {})
    base = VerifyResult(
        model=model,
        device=steps.device,
        checks=steps.files.checks,
        command=steps.options.command,
        own_limits=gates.own(limits),
    )
    run = _engine(steps, how, folder / "engine") if steps.files.runnable else None
    if run is None or isinstance(run, Failure):
        return replace(base, checks=(*base.checks, engine_check(run)))
    how = _decided(how, run)
    half: Dtype = "float16" if run.answer.settings.dtype == "float16" else "bfloat16"
    found = _reference(steps, how, half, run, folder / "reference")
    seen = _Compared.of(how, half, run, None if isinstance(found, Failure | None) else found)
    why = found.sentence() if isinstance(found, Failure) else f"--reference {steps.options.reference}"
    return replace(
        base,
        checks=(*base.checks, *_checks(steps, seen, limits, why)),
        engine=EngineFacts(run.answer.settings, None, None, run.answer.left_out, run.started),
        vectors=seen.facts(),
        not_run={"served": _SERVER} if steps.options.serve else {},
        seconds=_seconds(run, seen.references),
    )


def _engine(steps: Steps, how: Pooling, folder: Path) -> PooledRun | Failure:
    options = steps.options
    asked = engines.UserChoice(options.arguments, options.deterministic, devices.free_share(steps.device))
    files = steps.files
    model = engines.ModelFolder(steps.model, files.nbytes, files.max_positions, files.text_only)
    texts = [prompt.text for prompt in steps.prompts]
    task = engine.job(model, steps.device.kind, steps.kind, how, texts, asked)
    found = engine.run(task, folder, options.engine_timeout, steps.telling("engine"))
    return engines.engines_own(found) if isinstance(found, Failure) else found


def _decided(how: Pooling, run: PooledRun) -> Pooling:
    """The same with the engine's choice where the model says nothing."""
    if how.task != "embed" or how.pooling is not None or how.unknown:
        return how
    chosen = next((one for one in POOLINGS if one == run.answer.pooling), None)
    if chosen is None:
        return replace(
            how, unknown=f"the engine pools {run.answer.pooling}, which no reference here computes"
        )
    # vLLM normalises unless it is told not to.
    return replace(how, pooling=chosen, normalised=run.answer.normalised is not False)


def _reference(
    steps: Steps, how: Pooling, half: Dtype, run: PooledRun, folder: Path
) -> PooledReferences | Failure | None:
    if steps.options.reference != "hf":
        return None
    if how.unknown:
        return Failure(how.unknown, "reading the model's modules")
    dtypes, refused = reference.fitting(steps.files.size, half)
    if not dtypes:
        return Failure("; ".join(f"{dtype} {why}" for dtype, why in refused.items()), "planning")
    answer = run.answer
    texts = {
        n: replace(answer.asked[n], ids=answer.seen.get(n, answer.asked[n].ids)) for n in run.passes["batch"]
    }
    # Other tokens than the tokenizer's have no types that anybody has told.
    texts = {n: one if len(one.ids) == len(one.types) else replace(one, types=()) for n, one in texts.items()}
    wrong = variations(
        how,
        half,
        dtypes,
        rope=names_rope_base(steps.files.config),
        types=any(any(one.types) for one in texts.values()),
    )
    job = PooledReferenceJob(str(steps.model.resolve()), wrong, texts)
    found = reference.run(job, folder, steps.options.reference_timeout, steps.telling("reference"))
    return found if isinstance(found, Failure) else replace(found, refused={**refused, **found.refused})


@dataclass(frozen=True, slots=True)
class _Compared:
    """A run and its references, and every pair that can be formed of them."""

    how: Pooling
    half: Dtype
    run: PooledRun
    references: PooledReferences | None
    pairs: Mapping[str, VectorPair]
    controls: Mapping[str, VectorPair]
    repeated: Mapping[str, VectorPair]

    @staticmethod
    def of(how: Pooling, half: Dtype, run: PooledRun, references: PooledReferences | None) -> _Compared:
        logits = how.task != "embed"
        first = run.passes["batch"]
        sides = {"D": first, "R": None, "B": None}
        if references is not None:
            sides |= {"R": references.full, "B": references.half}
        pairs: dict[str, VectorPair] = {
            name: vectors.compare(one, other, logits=logits)
            for name in vectors.PAIRS
            if (one := sides[name[0]]) is not None and (other := sides[name[-1]]) is not None
        }
        wrong = {} if references is None else references.controls
        others = {name: one for name, one in run.passes.items() if name not in {"batch", ACTIVATED}}
        return _Compared(
            how,
            half,
            run,
            references,
            pairs,
            {name: vectors.compare(one, first, logits=logits) for name, one in wrong.items()},
            {name: vectors.compare(first, one, logits=logits) for name, one in others.items()},
        )

    @property
    def noise(self) -> VectorNoise | None:
        """D's distance from fp32 by B's."""
        floor, moved = self.pairs.get("R-B"), self.pairs.get("R-D")
        return None if floor is None or moved is None else vectors.noise(floor, moved)

    def facts(self) -> VectorFacts:
        """What the result keeps of it."""
        first, references = self.run.passes["batch"], self.references
        return VectorFacts(
            task=self.how.task,
            pooling=self.how.pooling or self.run.answer.pooling,
            normalised=self.how.normalised,
            width=max((len(vector) for vector in first.values()), default=0),
            half=self.half,
            rows=tuple(self._row(n) for n in first),
            pairs=self.pairs,
            controls=self.controls,
            noise=self.noise,
            repeated=self.repeated,
            refused={} if references is None else references.refused,
            versions={} if references is None else references.versions,
        )

    def _row(self, n: int) -> VectorRow:
        tokens = len(self.run.answer.asked[n].ids)
        text = (f"({tokens} tokens)",) if n == self.run.answer.long else self.run.texts[n]
        parity = {name: pair.texts[n] for name, pair in self.pairs.items() if n in pair.texts}
        return VectorRow(n, text, tokens, parity)


def _checks(steps: Steps, seen: _Compared, limits: Mapping[str, float], why: str) -> Iterator[Check]:
    run, first = seen.run, seen.run.passes["batch"]
    yield pooled.engine_check(run, run.answer.left_out)
    yield pooled.settings_check(seen.how, steps.device.kind, run)
    yield pooled.tokens_check(run)
    yield pooled.finite_check(first)
    distinct = pooled.distinct_check(first, limits)
    if distinct is not None:
        yield distinct
    for name, pair in seen.repeated.items():
        exact = name == "repeat" and run.started.deterministic
        yield pooled.repetition_check(name, pair, seen.pairs.get("R-B"), limits, exact=exact)
    if seen.how.activation is not None:
        yield pooled.activation_check(seen.how.activation, first, run.passes[ACTIVATED], limits)
    yield from _parity(seen, limits, why)


def _parity(seen: _Compared, limits: Mapping[str, float], why: str) -> Iterator[Check]:
    references = seen.references
    if references is None:
        yield verdicts.no_vectors(why)
        return
    name = "B-D" if "B-D" in seen.pairs else "R-D"
    yield from pooled.parity_checks(seen.pairs[name], limits, name)
    if seen.noise is None:
        words = "fp32 and bf16 were not both run, so bf16's own noise is not known"
        yield Check("parity.noise", "inconclusive", None, limits["noise_ratio"], words)
    else:
        yield pooled.noise_check(seen.noise, seen.half, limits)
    yield from pooled.controls_checks(
        seen.controls, seen.pairs.get("R-B"), seen.half, limits, references.refused
    )


def _seconds(run: PooledRun, references: PooledReferences | None) -> dict[str, float]:
    found = run.answer.seconds
    stages = {
        "engine import": found.importing,
        "engine load": found.loading,
        "engine after_load": found.after_load,
        "engine whole": found.whole,
        **{f"pass {name}": seconds for name, seconds in run.answer.pass_seconds.items()},
    }
    replays = {} if references is None else references.seconds
    return {**stages, **{f"reference {stage}": seconds for stage, seconds in replays.items()}}
