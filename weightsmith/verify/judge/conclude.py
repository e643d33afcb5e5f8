"""From everything that was seen to the result: the checks in their order, and the rows of the report."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.process.child import Failure
from weightsmith.verify.judge import gates, verdicts
from weightsmith.verify.measure import determinism, health
from weightsmith.verify.measure.cost import overhead
from weightsmith.verify.result import Check, VerifyResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weightsmith.verify.engine.device import Device
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.inputs.files import Files
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.prompts import Prompt
    from weightsmith.verify.measure.baseline import Baseline, Identity
    from weightsmith.verify.measure.determinism import Repetition
    from weightsmith.verify.measure.health import Facts, Spread
    from weightsmith.verify.measure.parity import Parity
    from weightsmith.verify.reference.replay import References


@dataclass(frozen=True, slots=True)
class Against:
    """The baseline compared with, what identifies this run, and by prompt how many positions are comparable.

    spread: of the baseline's own distributions.
    """

    baseline: Baseline
    here: Identity
    positions: dict[int, int]
    spread: Spread


@dataclass(frozen=True, slots=True)
class Observed:
    """One run's observations. engine: None when the files forbade it; reference: None when there was none to run."""

    model: Path
    device: Device
    kind: Kind
    files: Files
    prompts: Sequence[Prompt]
    engine: EngineRun | Failure | None
    reference: References | Failure | None
    parity: Parity | None
    spread: Spread | None
    against: Against | None
    reference_asked: str


def conclude(
    seen: Observed, limits: Mapping[str, float], command: str, seconds: Mapping[str, float]
) -> VerifyResult:
    """Judges what was observed. limits: by gate name. seconds: by stage, as far as only the caller knows them."""
    run = seen.engine
    if run is None or isinstance(run, Failure):
        return VerifyResult(
            model=_model(seen),
            device=seen.device.document(),
            engine={},
            checks=(*seen.files.checks, _engine_check(run)),
            parity={},
            prompts=tuple({"prompt": p.text, "expect": p.expect, "answer": None} for p in seen.prompts),
            command=command,
            seconds=dict(seconds),
            own_limits=gates.own(limits),
        )
    facts = health.facts(seen.prompts, run.texts)
    repeated = _repetitions(run)
    sanity = health.sanity(run.texts, {n: answer.tokens for n, answer in run.runs["batch"].answers.items()})
    checks = [
        *seen.files.checks,
        _engine_check(run),
        verdicts.settings_check(seen.kind, seen.device.kind, run),
        *verdicts.text_checks(sanity, limits),
        verdicts.facts_check(facts, seen.prompts, limits),
        *_spread_checks(seen, limits),
        *(verdicts.repetition_check(found, limits) for found in repeated),
        *(verdicts.no_repetition(name, why) for name, why in run.failed.items()),
        *_baseline_checks(seen, run),
        *_parity_checks(seen, limits),
    ]
    return VerifyResult(
        model=_model(seen),
        device=seen.device.document(),
        engine={**run.settings, "condition_tokens": run.wrapped, "left_out_prompts": list(run.left_out)},
        checks=tuple(checks),
        parity=_parity_document(seen),
        prompts=tuple(_prompt_row(seen, run, facts, n) for n in range(len(seen.prompts))),
        command=command,
        performance=_performance(run),
        determinism=tuple(found.document() for found in repeated),
        own_limits=gates.own(limits),
        seconds={**seconds, **_stages(seen, run), **overhead(seconds["whole"], run, _twin(seen))},
    )


def _engine_check(run: EngineRun | Failure | None) -> Check:
    if run is None:
        words = "not started: with these files it would crash or load garbage; mend the files first"
        return Check("engine", "inconclusive", None, None, words)
    if isinstance(run, Failure):
        log = f"; its last lines: {' | '.join(run.log)}" if run.log else ""
        return Check("engine", "fail", "no result", "result", f"{run.what} while {run.stage}{log}")
    answered, asked = len(run.texts), len(run.prompt_ids)
    words = f"{answered} of {asked} prompts answered in {len(run.runs)} arrangements by one engine"
    if run.left_out:
        words += f"; {len(run.left_out)} are longer than the model takes"
    return Check("engine", "pass", answered, asked, words)


def _repetitions(run: EngineRun) -> tuple[Repetition, ...]:
    """Passes against the first. Where the prefix cache was never hit, "warm" was not warm and is left out."""
    runs = {n: r for n, r in run.runs.items() if n != "warm" or run.settings["prefix_cache_hits"]}
    return determinism.repetitions(runs, "batch")


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
        twin = _twin(seen)
        return verdicts.all_parity_checks(seen.parity, limits, {} if twin is None else twin.refused)
    if isinstance(seen.reference, Failure):
        return (verdicts.no_parity(f"no reference: {seen.reference.sentence()}"),)
    return (verdicts.no_parity(f"no reference was run (--reference {seen.reference_asked})"),)


def _parity_document(seen: Observed) -> dict[str, Any]:
    if seen.parity is None:
        return {}
    document = {"reference": seen.reference_asked, **seen.parity.document()}
    twin = _twin(seen)
    if twin is not None:
        document |= {
            "versions": twin.versions,
            "refused": twin.refused,
            "layer_by_layer": dict(twin.layer_by_layer),
            "cached": list(twin.cached),
            "cache_fault": twin.cache_fault,
        }
    return document


def _prompt_row(seen: Observed, run: EngineRun, facts: Facts, n: int) -> dict[str, Any]:
    """One prompt: what it was asked, what came, and how far the three distributions are apart on it."""
    prompt = seen.prompts[n]
    answer = run.runs["batch"].answers.get(n)
    row: dict[str, Any] = {
        "prompt": prompt.text,
        "expect": prompt.expect,
        "answer": run.texts.get(n),
        "answered": None if prompt.expect is None or answer is None else n not in facts.missed,
        "prompt_tokens": len(run.prompt_ids[n]),
        "token_ids": [] if answer is None else list(answer.tokens),
        "finish": None if answer is None else answer.finish,
    }
    if seen.parity is not None:
        pairs = {name: pair.prompts[n] for name, pair in seen.parity.pairs.items() if n in pair.prompts}
        row["parity"] = {name: asdict(figures) for name, figures in pairs.items()}
    return row


def _performance(run: EngineRun) -> dict[str, Any]:
    """Seconds, tokens per second and seconds per token, as the field reports' tables have them.

    single: one request at a time. batch: all prompts together; both without log-probabilities of the whole vocabulary.
    """
    batch, alone = run.runs["batch"], run.runs["alone"]
    return {
        "import_s": run.seconds["import"],
        "load_s": run.seconds["load"],
        "engine_s": run.seconds["whole"],
        "peak_memory_bytes": run.peak_bytes,
        "single_tokens_per_s": alone.tokens / alone.seconds,
        "single_latency_s": alone.seconds / max(1, len(alone.answers)),
        "kv_cache_tokens": (run.settings.get("kv_blocks") or 0) * (run.settings.get("block_size") or 0),
        "single_ttft_s": _median([a.ttft for a in alone.answers.values()]),
        "single_tpot_s": _median([a.tpot for a in alone.answers.values()]),
        "batch_requests": len(batch.answers),
        "batch_tokens": batch.tokens,
        "batch_s": batch.seconds,
        "batch_tokens_per_s": batch.tokens / batch.seconds,
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _model(seen: Observed) -> dict[str, Any]:
    return {
        "name": seen.model.resolve().name,
        "kind": seen.kind.name,
        "checkpoint": dict(seen.files.summary),
        "config": dict(seen.files.config),
    }


def _stages(seen: Observed, run: EngineRun) -> dict[str, float]:
    """Where the time went inside the children."""
    stages = {f"engine {stage}": seconds for stage, seconds in run.seconds.items()}
    stages.update({f"pass {name}": r.seconds for name, r in run.runs.items()})
    twin = _twin(seen)
    if twin is not None:
        stages.update({f"reference {stage}": s for stage, s in twin.seconds.items()})
    return stages


def _twin(seen: Observed) -> References | None:
    return None if isinstance(seen.reference, Failure) else seen.reference
