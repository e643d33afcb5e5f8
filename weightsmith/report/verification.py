"""The Markdown report: the tables that the field reports have, each line with its own verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.formats import gibibytes, milliseconds, number, percent
from weightsmith.process.targets import write_output
from weightsmith.report import parity_tables
from weightsmith.report.markdown import code, table, text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.verify.engine.device import Device
    from weightsmith.verify.measure.repetition import Repetition
    from weightsmith.verify.result import (
        EngineFacts,
        ModelFacts,
        Performance,
        PromptRow,
        Verdict,
        VerifyResult,
    )

_MARK: dict[Verdict, str] = {"pass": "✅ pass", "fail": "❌ fail", "inconclusive": "❔ inconclusive"}
# What the report shows of a config, where it has them.
_FACTS = (
    "model_type",
    "architectures",
    "hidden_size",
    "num_hidden_layers",
    "num_layers_per_stack",
    "H_cycles",
    "L_cycles",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "rope_theta",
    "rms_norm_eps",
    "tie_word_embeddings",
)


_SHARE = "overhead_share"
# Facts of the engine that have a place of their own in the report.
_ELSEWHERE = frozenset({"versions", "eager_and_graphs"})


def write(result: VerifyResult, path: Path, foretold: str = "") -> VerifyResult:
    """Writes the report and returns the result that names it. Raises TargetRefused when the path cannot be written.

    foretold: what `weightsmith fits` says of the cache, in words; empty where it says nothing.
    """
    write_output(path, markdown(result, foretold).encode())
    return replace(result, report=str(path))


def markdown(result: VerifyResult, foretold: str = "") -> str:
    """The whole report. Sections whose figures were never taken are left out, and the checks say why."""
    parts = [
        f"# {text(result.model.name)}: verification report",
        f"**Verdict: {_MARK[result.verdict]}**",
        _command(result),
        "## Checks",
        _checks(result),
        "## Model",
        _model(result.model),
        "## Environment",
        _environment(result.device, result.engine),
    ]
    if result.engine is not None:
        parts += ["## Answers (greedy)", _answers(result.prompts)]
        parts += ["## Determinism", _determinism(result.determinism, result.engine)]
    if result.performance is not None:
        parts += ["## Performance", _performance(result.performance, foretold)]
    if result.parity is not None:
        parts += ["## Numeric parity", *parity_tables.sections(result.parity, result.prompts)]
    parts += [
        "## Where the time went",
        _seconds(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(result: VerifyResult) -> str:
    return code(result.command, "sh") if result.command else ""


def _checks(result: VerifyResult) -> str:
    rows = [
        (check.name, _MARK[check.verdict], number(check.value), number(check.threshold), check.detail)
        for check in result.checks
    ]
    found = table(("check", "verdict", "value", "limit", "detail"), rows)
    changed = [f"{name} {mine:g} instead of {gate:g}" for name, (mine, gate) in result.own_limits.items()]
    return f"{found}\n\n**Own limits**: {text(', '.join(changed))}." if changed else found


def _model(model: ModelFacts) -> str:
    rows: list[tuple[str, object]] = []
    if model.checkpoint is not None:
        files = model.checkpoint
        rows += [
            ("path", files.path),
            ("format", files.format),
            ("parameters", f"{files.parameters:,}"),
            ("bytes", f"{files.nbytes:,}"),
            ("dtypes", ", ".join(f"{dtype} {count:,}" for dtype, count in files.dtypes.items())),
        ]
    rows.append(("kind", model.kind))
    config = model.config
    rows += [(name, config[name]) for name in _FACTS if name in config]
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if isinstance(rope, dict):
        rows += [
            (f"rope: {name}", rope[name]) for name in ("rope_type", "type", "rope_theta") if name in rope
        ]
    return table(("fact", "value"), rows)


def _environment(device: Device, engine: EngineFacts | None) -> str:
    seen = device.seen
    rows: list[tuple[str, object]] = [("device", f"{device.kind}: {device.name}")]
    if seen.count is not None:
        rows.append(("devices", seen.count))
        rows.append(("memory of each", ", ".join(map(gibibytes, seen.memory))))
    versions = seen.packages if engine is None else engine.settings.versions or seen.packages
    rows += [*versions.items(), *(("warning", text) for text in device.warnings)]
    facts = {} if engine is None else engine.rows()
    rows += [(f"engine: {name}", value) for name, value in facts.items() if name not in _ELSEWHERE]
    return table(("component", "value"), rows)


def _answers(prompts: Sequence[PromptRow]) -> str:
    marks = {True: "✅", False: "❌", None: ""}
    rows = [
        (n, row.prompt, row.outcome.answer, marks[row.outcome.answered], len(row.outcome.token_ids))
        for n, row in enumerate(prompts)
        if row.outcome is not None
    ]
    return table(("#", "prompt", "answer", "fact", "tokens"), rows)


def _determinism(repetitions: Sequence[Repetition], engine: EngineFacts) -> str:
    rows = [
        (
            one.name,
            f"{one.same_tokens}/{one.prompts}",
            f"{one.same_bits}/{one.prompts}",
            number(one.delta_max),
            len(one.parted),
        )
        for one in repetitions
    ]
    found = table(("against the first pass", "same tokens", "same bits", "max abs Δ log p", "parted"), rows)
    graphs = engine.eager_and_graphs
    return f"{found}\n\nEager mode against graphs: {text(graphs)}." if graphs else found


def _performance(found: Performance, foretold: str) -> str:
    batch = f"batch of {found.batch_requests}"
    rows = [
        ("engine start (model load)", f"{found.load_s:.2f} s"),
        ("single request, throughput", f"{found.single_tokens_per_s:.2f} tok/s"),
        ("single request, TTFT", _latency(found.single_ttft_s)),
        ("single request, TPOT", _latency(found.single_tpot_s)),
        ("single request, latency", _latency(found.single_latency_s)),
        (f"{batch}, throughput", f"{found.batch_tokens_per_s:.2f} tok/s"),
        (f"{batch}, tokens", found.batch_tokens),
        ("KV cache", f"{found.kv_cache_tokens:,} tokens" if found.kv_cache_tokens else ""),
        ("peak memory", gibibytes(found.peak_memory_bytes, 2)),
    ]
    rows += [("KV cache, foretold by weightsmith fits", foretold)] if foretold else []
    return table(("measure", "value"), rows)


def _seconds(result: VerifyResult) -> str:
    stages = {stage: seconds for stage, seconds in result.seconds.items() if stage != _SHARE}
    found = table(("stage", "s"), [(stage, f"{seconds:.1f}") for stage, seconds in stages.items()])
    if _SHARE not in result.seconds:
        return found
    words = "beyond the engine's start and generation and the reference's passes"
    return f"Overhead ({words}): {percent(result.seconds[_SHARE], 1)} of the run.\n\n{found}"


def _latency(seconds: float | None) -> str:
    return "not kept by this engine" if seconds is None else milliseconds(seconds)
