"""From everything that was observed to the result: the checks in their order, and the rows of the report."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.process.child import Failure
from weightsmith.verify import known_texts
from weightsmith.verify.checks import Check
from weightsmith.verify.engine.engine import EngineRun
from weightsmith.verify.inputs.kinds import unused_layers
from weightsmith.verify.judge import gates, signs, task_checks, verdicts
from weightsmith.verify.measure import answers, chosen, health, repetition
from weightsmith.verify.measure.cost import overhead
from weightsmith.verify.measure.speed import ratios
from weightsmith.verify.result import (
    BenchFacts,
    CheckpointFacts,
    EngineFacts,
    ModelFacts,
    ParityFacts,
    Performance,
    PromptOutcome,
    PromptRow,
    VerifyResult,
)
from weightsmith.verify.tasks.expected import Expected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weightsmith.verify.engine.device import Device
    from weightsmith.verify.engine.server_job import Served
    from weightsmith.verify.inputs.files import Files
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.prompts import Prompt
    from weightsmith.verify.inputs.tokens import Completion
    from weightsmith.verify.known_texts import KnownTexts
    from weightsmith.verify.measure.answers import Bond
    from weightsmith.verify.measure.baseline import Baseline, Identity
    from weightsmith.verify.measure.chosen import ChosenTokens
    from weightsmith.verify.measure.health import Facts, Spread
    from weightsmith.verify.measure.parity import Parity
    from weightsmith.verify.measure.repetition import Repetition
    from weightsmith.verify.reference.replay import References


@dataclass(frozen=True, slots=True)
class Against:
    """The baseline compared with.

    here: what identifies this run.
    positions: by prompt, how many are comparable.
    spread: of the baseline's own distributions.
    """

    baseline: Baseline
    here: Identity
    positions: Mapping[int, int]
    spread: Spread


@dataclass(frozen=True, slots=True)
class Observed:
    """One run's observations.

    engine: None when the files forbade it.
    questions: how many of the prompts ask something; the others were made to the engine's size.
    reference: None when there was none to run. reference_asked: what the user asked for.
    served: the server's answers, None where none was asked for.
    parity, spread, comparing_seconds: None where nothing was measured. against: None without a baseline.
    bond: how much answers hang on their order and prompts, None where the whole distributions are not known.
    chosen: a sample of the chosen tokens' log-probabilities. hashes: by file name.
    expected: of tasks and loads. known_texts: None where none were asked.
    """

    model: Path
    device: Device
    kind: Kind
    files: Files
    prompts: Sequence[Prompt]
    questions: int
    reference_asked: str
    engine: EngineRun | Failure | None = None
    reference: References | Failure | None = None
    parity: Parity | None = None
    spread: Spread | None = None
    bond: Bond | None = None
    against: Against | None = None
    comparing_seconds: float | None = None
    chosen: ChosenTokens | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    served: Served | Failure | None = None
    expected: Expected = field(default_factory=Expected)
    known_texts: KnownTexts | None = None


def sampled(seen: Observed) -> ChosenTokens | None:
    """Of the chosen tokens, what the reference and the device say; while the files of both are still there."""
    references = _references(seen)
    if references is None or not isinstance(seen.engine, EngineRun):
        return None
    return chosen.sample(seen.engine, references, None if seen.against is None else seen.against.positions)


def conclude(
    seen: Observed, limits: Mapping[str, float], command: str, seconds: Mapping[str, float]
) -> VerifyResult:
    """Judges what was observed.

    limits: by gate name.
    seconds: by stage, as far as only the caller knows them; "whole" is among them.
    """
    if seen.engine is None or isinstance(seen.engine, Failure):
        return VerifyResult(
            model=_model(seen),
            device=seen.device,
            checks=(*seen.files.checks, engine_check(seen.engine)),
            prompts=tuple(PromptRow(prompt.text, prompt.expect) for prompt in seen.prompts),
            command=command,
            seconds=seconds,
            own_limits=gates.own(limits),
        )
    return _conclude_run(seen, seen.engine, limits, command, seconds)


def _conclude_run(
    seen: Observed,
    run: EngineRun,
    limits: Mapping[str, float],
    command: str,
    seconds: Mapping[str, float],
) -> VerifyResult:
    facts = health.facts(seen.prompts, run.texts)
    repeated = _repetitions(run)
    beyond = overhead(seconds["whole"], run, _references(seen))
    return VerifyResult(
        model=_model(seen),
        device=seen.device,
        engine=EngineFacts(run.settings, run.eager_and_graphs, run.wrapped, run.left_out, run.started),
        checks=_checks(seen, run, facts, repeated, limits),
        parity=_parity(seen),
        prompts=tuple(_prompt_row(seen, run, facts, n) for n in range(len(seen.prompts))),
        command=command,
        performance=_performance(run),
        determinism=repeated,
        not_run={
            **_not_run(run),
            **_unasked(seen),
            **unused_layers(seen.files.config, run.settings.speculative),
        },
        served=None if isinstance(seen.served, Failure) else seen.served,
        tasks=task_checks.results(seen.served, seen.expected),
        bench=_bench(seen),
        own_limits=gates.own(limits),
        seconds={
            **seconds,
            **_stages(seen, run),
            "overhead": beyond.seconds,
            "overhead_share": beyond.share,
        },
    )


def _checks(
    seen: Observed,
    run: EngineRun,
    facts: Facts,
    repeated: Sequence[Repetition],
    limits: Mapping[str, float],
) -> tuple[Check, ...]:
    first = run.passes["batch"].completions
    tokens = {n: one.tokens for n, one in first.items() if n < seen.questions}
    texts = {n: text for n, text in run.texts.items() if n < seen.questions}
    return (
        *seen.files.checks,
        engine_check(run),
        verdicts.settings_check(seen.kind, seen.device.kind, run),
        *verdicts.text_checks(health.sanity(texts, tokens), limits),
        verdicts.facts_check(facts, seen.prompts, limits),
        *_signs(seen, run, texts, facts, limits),
        *_spread_checks(seen, limits),
        *(verdicts.repetition_check(found, limits, run.started.deterministic) for found in repeated),
        *(verdicts.no_repetition(name, why) for name, why in run.failed.items()),
        *(() if run.long is None else (verdicts.long_check(run.long, limits),)),
        *(() if seen.served is None else verdicts.served_checks(seen.served, run, limits)),
        *task_checks.task_checks(seen.served, task_checks.results(seen.served, seen.expected)),
        *task_checks.bench_checks(seen.served, run, limits),
        *_baseline_checks(seen, run),
        *verdicts.picture_checks(run, seen.parity, limits),
        *_parity_checks(seen, limits),
        *_known_texts_checks(seen),
    )


def _bench(seen: Observed) -> BenchFacts | None:
    served, expected = seen.served, seen.expected
    if served is None or isinstance(served, Failure) or isinstance(served.bench, Failure | None):
        return None
    loads = served.bench.loads
    return BenchFacts(
        loads=loads,
        ratios=ratios(loads, expected.loads),
        source=expected.source,
        device=expected.device,
        engine=expected.engine,
        settings=expected.settings,
    )


def _signs(
    seen: Observed, run: EngineRun, texts: Mapping[int, str], facts: Facts, limits: Mapping[str, float]
) -> tuple[Check, ...]:
    """Of the answers to the questions, without any reference."""
    asked = [prompt.text for prompt in seen.prompts[: seen.questions]]
    strange = [answers.foreign(text, asked) for text in texts.values()]
    return (
        signs.script_check(strange, limits),
        *signs.bond_checks(seen.bond, limits),
        *(() if run.reading is None else (signs.reading_check(run.reading, facts, limits),)),
        *(signs.template_check(why) for name, why in run.not_run.items() if name == "chat"),
    )


def engine_check(run: EngineRun | Failure | None) -> Check:
    """Whether the engine answered at all. run: None where the files forbade one."""
    if run is None:
        words = "not started: with these files it would crash or load garbage; mend the files first"
        return Check("engine", "inconclusive", None, None, words)
    if isinstance(run, Failure):
        log = f"; its last lines: {' | '.join(run.log)}" if run.log else ""
        return Check("engine", "fail", "no result", "result", f"{run.what} while {run.stage}{log}")
    answered, asked = len(run.texts), len(run.prompt_ids)
    words = f"{answered} of {asked} prompts answered in {len(run.passes)} arrangements by one engine"
    if run.left_out:
        words += f"; {len(run.left_out)} are longer than the model takes"
    return Check("engine", "pass", answered, asked, words)


def _repetitions(run: EngineRun) -> tuple[Repetition, ...]:
    """Passes against the first. Where the prefix cache was never hit, "warm" was not warm and is left out."""
    passes = {n: one for n, one in run.passes.items() if n != "warm" or run.settings.prefix_cache_hits}
    return repetition.repetitions(passes, "batch")


def _not_run(run: EngineRun) -> dict[str, str]:
    """What could not be arranged, and why."""
    cold = {} if run.settings.prefix_cache_hits else {"warm": _no_hits(run)}
    return {**cold, **run.not_run}


def _no_hits(run: EngineRun) -> str:
    return (
        "no prompt was found in the prefix cache" if run.settings.prefix_caching else "prefix caching is off"
    )


def _spread_checks(seen: Observed, limits: Mapping[str, float]) -> tuple[Check, ...]:
    if seen.spread is None:
        return ()
    return verdicts.spread_checks(seen.spread, limits, None if seen.against is None else seen.against.spread)


def _baseline_checks(seen: Observed, run: EngineRun) -> tuple[Check, ...]:
    if seen.against is None:
        return ()
    return (verdicts.baseline_check(seen.against.baseline, seen.against.here, seen.against.positions, run),)


def _parity_checks(seen: Observed, limits: Mapping[str, float]) -> tuple[Check, ...]:
    if seen.parity is not None:
        references = _references(seen)
        refused = {} if references is None else references.refused
        found = verdicts.all_parity_checks(seen.parity, limits, refused)
        if references is not None and references.half_dtype == "float16":
            found = (*verdicts.overflow_checks(seen.parity), *found)
        unpacking = None if references is None else references.unpacking
        return found if unpacking is None else (verdicts.weights_check(unpacking, found), *found)
    if isinstance(seen.reference, Failure):
        return (verdicts.no_parity(f"no reference: {seen.reference.sentence()}"),)
    return (verdicts.no_parity(f"no reference was run (--reference {seen.reference_asked})"),)


def _known_texts_checks(seen: Observed) -> tuple[Check, ...]:
    found = seen.known_texts
    return () if found is None or found.why_not else (known_texts.check(found, seen.model),)


def _unasked(seen: Observed) -> dict[str, str]:
    found = seen.known_texts
    return {known_texts.NAME: found.why_not} if found is not None and found.why_not else {}


def _parity(seen: Observed) -> ParityFacts | None:
    references = _references(seen)
    if seen.parity is None or references is None:
        return None
    return ParityFacts(
        reference=seen.reference_asked,
        measured=seen.parity,
        versions=references.versions,
        refused=references.refused,
        layer_by_layer=references.layer_by_layer,
        cached=references.cached,
        cache_fault=references.cache_fault,
        chosen=seen.chosen,
        half=references.half_dtype,
    )


def _prompt_row(seen: Observed, run: EngineRun, facts: Facts, n: int) -> PromptRow:
    """One prompt: what it was asked, what was generated, and how far the distributions are apart on it."""
    prompt = seen.prompts[n]
    completion = run.passes["batch"].completions.get(n)
    outcome = PromptOutcome(
        answer=run.texts.get(n),
        answered=None if prompt.expect is None or completion is None else n not in facts.missed,
        prompt_tokens=len(run.prompt_ids[n]),
        token_ids=() if completion is None else completion.tokens,
        finish=None if completion is None else completion.finish,
        alone_s=_alone(run.passes["alone"].completions.get(n)),
    )
    if seen.parity is None:
        return PromptRow(prompt.text, prompt.expect, outcome)
    figures = {name: pair.prompts[n] for name, pair in seen.parity.pairs.items() if n in pair.prompts}
    return PromptRow(prompt.text, prompt.expect, outcome, figures)


def _alone(completion: Completion | None) -> float | None:
    """Seconds of one request, as the engine's own clock has them."""
    if completion is None or completion.ttft is None:
        return None
    return completion.ttft + (completion.tpot or 0.0) * (len(completion.tokens) - 1)


def _performance(run: EngineRun) -> Performance:
    batch, alone = run.passes["batch"], run.passes["alone"]
    completions = alone.completions.values()
    return Performance(
        load_s=run.seconds.loading,
        single_tokens_per_s=alone.tokens / alone.seconds,
        single_latency_s=alone.seconds / max(1, len(completions)),
        single_ttft_s=_median([completion.ttft for completion in completions]),
        single_tpot_s=_median([completion.tpot for completion in completions]),
        batch_requests=len(batch.completions),
        batch_tokens=batch.tokens,
        batch_tokens_per_s=batch.tokens / batch.seconds,
        kv_cache_tokens=(run.settings.kv_blocks or 0) * (run.settings.block_size or 0),
        peak_memory_bytes=run.peak_bytes,
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _model(seen: Observed) -> ModelFacts:
    return model_facts(seen.model, seen.kind.name, seen.files, seen.hashes)


def model_facts(model: Path, kind: str, files: Files, hashes: Mapping[str, str]) -> ModelFacts:
    """What the result says of a model. hashes: by file name."""
    return ModelFacts(
        name=model.resolve().name,
        kind=kind,
        checkpoint=CheckpointFacts(str(model), files.format, files.parameters, files.nbytes, files.dtypes),
        config=files.config,
        changes=files.changes,
        hashes=hashes,
    )


def _stages(seen: Observed, run: EngineRun) -> dict[str, float]:
    """Where the time went inside the children."""
    stages = {
        "engine import": run.seconds.importing,
        "engine load": run.seconds.loading,
        "engine measuring": run.seconds.measuring,
        "engine after_load": run.seconds.after_load,
        "engine whole": run.seconds.whole,
        **{f"pass {name}": one.seconds for name, one in run.passes.items()},
    }
    references = _references(seen)
    replays = {} if references is None else references.seconds
    return {**stages, **{f"reference {stage}": seconds for stage, seconds in replays.items()}}


def _references(seen: Observed) -> References | None:
    return None if isinstance(seen.reference, Failure) else seen.reference
