"""The Markdown report: the tables that the field reports have, each line with its own verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from weightsmith.errors import TargetRefused
from weightsmith.process.durable import replace_file
from weightsmith.report import parity_tables
from weightsmith.report.markdown import number, table

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.result import VerifyResult

_MARK = {"pass": "✅ pass", "fail": "❌ fail", "inconclusive": "❔ inconclusive"}
# The reports' facts of a model, where its config has them.
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
# Rows of the engine that have a place of their own in the report.
_ELSEWHERE = frozenset({"versions", "eager_and_graphs"})


def write(result: VerifyResult, path: Path) -> VerifyResult:
    """Writes the report and returns the result that names it. Raises TargetRefused when the path cannot be written."""
    try:
        replace_file(path, markdown(result).encode(), follow_link=True)
    except OSError as error:
        raise TargetRefused(
            path, f"cannot be written ({error.strerror})", "name another --report file"
        ) from error
    return replace(result, report=str(path))


def markdown(result: VerifyResult) -> str:
    """The whole report. Sections whose figures were never taken are left out, and the checks say why."""
    parts = [
        f"# {result.model['name']}: verification report",
        f"**Verdict: {_MARK[result.verdict]}**",
        _command(result),
        "## Checks",
        _checks(result),
        "## Model",
        _model(result),
        "## Environment",
        _environment(result),
    ]
    if result.engine:
        parts += ["## Answers (greedy)", _answers(result), "## Determinism", _determinism(result)]
        parts += ["## Performance", _performance(result)]
    if result.parity:
        parts += ["## Numeric parity", parity_tables.words(result), parity_tables.overall(result)]
        parts += [parity_tables.shares(result), parity_tables.per_prompt(result)]
        parts += ["### Flips", parity_tables.flips(result)]
        parts += ["### Negative controls", parity_tables.controls(result)]
    parts += [
        "## Where the time went",
        _seconds(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(result: VerifyResult) -> str:
    return f"```sh\n{result.command}\n```" if result.command else ""


def _checks(result: VerifyResult) -> str:
    rows = [
        (check.name, _MARK[check.verdict], number(check.value), number(check.threshold), check.detail)
        for check in result.checks
    ]
    found = table(("check", "verdict", "value", "limit", "detail"), rows)
    changed = [f"{name} {mine:g} instead of {gate:g}" for name, (mine, gate) in result.own_limits.items()]
    return f"{found}\n\n**Own limits**: {', '.join(changed)}." if changed else found


def _model(result: VerifyResult) -> str:
    checkpoint, config = result.model["checkpoint"], result.model["config"]
    rows: list[tuple[str, Any]] = [
        ("path", checkpoint["path"]),
        ("format", checkpoint["format"]),
        ("parameters", f"{checkpoint['parameters']:,}"),
        ("bytes", f"{checkpoint['bytes']:,}"),
        ("dtypes", ", ".join(f"{dtype} {count:,}" for dtype, count in checkpoint["dtypes"].items())),
        ("kind", result.model["kind"]),
    ]
    rows += [(name, config[name]) for name in _FACTS if name in config]
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if isinstance(rope, dict):
        rows += [
            (f"rope: {name}", rope[name]) for name in ("rope_type", "type", "rope_theta") if name in rope
        ]
    return table(("fact", "value"), rows)


def _environment(result: VerifyResult) -> str:
    seen = result.device["seen"]
    rows: list[tuple[str, Any]] = [("device", f"{result.device['kind']}: {result.device['name']}")]
    if seen["count"] is not None:
        rows.append(("devices", seen["count"]))
        rows.append(("memory of each", ", ".join(f"{n / 2**30:.1f} GiB" for n in seen["memory"])))
    versions = result.engine.get("versions") or seen["packages"]
    rows += [*versions.items(), *(("warning", text) for text in result.device["warnings"])]
    rows += [(f"engine: {name}", value) for name, value in result.engine.items() if name not in _ELSEWHERE]
    return table(("component", "value"), rows)


def _answers(result: VerifyResult) -> str:
    rows = [
        (
            n,
            row["prompt"],
            row["answer"],
            {True: "✅", False: "❌", None: ""}[row["answered"]],
            len(row["token_ids"]),
        )
        for n, row in enumerate(result.prompts)
    ]
    return table(("#", "prompt", "answer", "fact", "tokens"), rows)


def _determinism(result: VerifyResult) -> str:
    rows = [
        (
            found["name"],
            f"{found['same_tokens']}/{found['prompts']}",
            f"{found['same_bits']}/{found['prompts']}",
            number(found["delta_max"]),
            len(found["parted"]),
        )
        for found in result.determinism
    ]
    found = table(("against the first pass", "same tokens", "same bits", "max abs Δ log p", "parted"), rows)
    graphs = result.engine.get("eager_and_graphs")
    return f"{found}\n\nEager mode against graphs: {graphs}." if graphs else found


def _performance(result: VerifyResult) -> str:
    found = result.performance
    rows = [
        ("engine start (model load)", f"{found['load_s']:.2f} s"),
        ("single request, throughput", f"{found['single_tokens_per_s']:.2f} tok/s"),
        ("single request, TTFT", _milliseconds(found["single_ttft_s"])),
        ("single request, TPOT", _milliseconds(found["single_tpot_s"])),
        ("single request, latency", _milliseconds(found["single_latency_s"])),
        (f"batch of {found['batch_requests']}, throughput", f"{found['batch_tokens_per_s']:.2f} tok/s"),
        (f"batch of {found['batch_requests']}, tokens", found["batch_tokens"]),
        ("KV cache", f"{found['kv_cache_tokens']:,} tokens" if found["kv_cache_tokens"] else ""),
        ("peak memory", f"{found['peak_memory_bytes'] / 2**30:.2f} GiB"),
    ]
    return table(("measure", "value"), rows)


def _seconds(result: VerifyResult) -> str:
    stages = {stage: seconds for stage, seconds in result.seconds.items() if stage != _SHARE}
    found = table(("stage", "s"), [(stage, f"{seconds:.1f}") for stage, seconds in stages.items()])
    if _SHARE not in result.seconds:
        return found
    words = "beyond the engine's start and generation and the reference's passes"
    return f"Overhead ({words}): {result.seconds[_SHARE]:.1%} of the run.\n\n{found}"


def _milliseconds(seconds: float | None) -> str:
    return "not kept by this engine" if seconds is None else f"{seconds * 1000:.2f} ms"
