"""The Markdown report: the tables that the field reports have, each line with its own verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from weightsmith.verify.result import VerifyResult

_MARK = {"pass": "✅ pass", "fail": "❌ fail", "inconclusive": "❔ inconclusive"}
_PAIRS = {
    "R-B": "FP32 CPU vs BF16 CPU",
    "R-D": "FP32 CPU vs BF16 device",
    "B-D": "BF16 CPU vs BF16 device",
    "F-D": "baseline vs BF16 device",
}
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
    "tie_word_embeddings",
)


def write(result: VerifyResult, path: Path) -> VerifyResult:
    """Writes the report and returns the result that names it. Raises TargetRefused when the path cannot be written."""
    try:
        path.write_text(markdown(result), encoding="utf-8")
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
        parts += ["## Numeric parity", _parity_words(result), _overall(result), _per_prompt(result)]
        parts += ["### Negative controls", _controls(result)]
    parts += [
        "## Where the time went",
        _table(("stage", "s"), [(k, f"{v:.1f}") for k, v in result.seconds.items()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(result: VerifyResult) -> str:
    return f"```sh\n{result.command}\n```" if result.command else ""


def _checks(result: VerifyResult) -> str:
    rows = [
        (check.name, _MARK[check.verdict], _number(check.value), _number(check.threshold), check.detail)
        for check in result.checks
    ]
    return _table(("check", "verdict", "value", "limit", "detail"), rows)


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
    return _table(("fact", "value"), rows)


def _environment(result: VerifyResult) -> str:
    seen = result.device["seen"]
    rows: list[tuple[str, Any]] = [("device", f"{result.device['kind']}: {result.device['name']}")]
    if seen["count"] is not None:
        rows.append(("devices", seen["count"]))
        rows.append(("memory of each", ", ".join(f"{n / 2**30:.1f} GiB" for n in seen["memory"])))
    versions = result.engine.get("versions") or seen["packages"]
    rows += [*versions.items(), *(("warning", text) for text in result.device["warnings"])]
    rows += [(f"engine: {name}", value) for name, value in result.engine.items() if name != "versions"]
    return _table(("component", "value"), rows)


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
    return _table(("#", "prompt", "answer", "fact", "tokens"), rows)


def _determinism(result: VerifyResult) -> str:
    rows = [
        (
            found["name"],
            f"{found['same_tokens']}/{found['prompts']}",
            f"{found['same_bits']}/{found['prompts']}",
            _number(found["delta_max"]),
            len(found["parted"]),
        )
        for found in result.determinism
    ]
    return _table(("against the first pass", "same tokens", "same bits", "max abs Δ log p", "parted"), rows)


def _performance(result: VerifyResult) -> str:
    found = result.performance
    rows = [
        ("engine start (model load)", f"{found['load_s']:.2f} s"),
        ("single request, throughput", f"{found['single_tokens_per_s']:.2f} tok/s"),
        ("single request, TTFT", _milliseconds(found["single_ttft_s"])),
        ("single request, TPOT", _milliseconds(found["single_tpot_s"])),
        (f"batch of {found['batch_requests']}, throughput", f"{found['batch_tokens_per_s']:.2f} tok/s"),
        (f"batch of {found['batch_requests']}, tokens", found["batch_tokens"]),
        ("peak memory", f"{found['peak_memory_bytes'] / 2**30:.2f} GiB"),
    ]
    return _table(("measure", "value"), rows)


def _parity_words(result: VerifyResult) -> str:
    words = (
        "R: fp32 on the CPU. B: bf16 on the CPU. D: the device. R and B replay D's own greedy tokens; "
        "KL and Δ log p are in nats. Pearson of log-probabilities equals that of logits; cosine does not."
    )
    if result.parity["partial"]:
        words += (
            " **Partial**: the engine gave its top tokens only, the rest is one bucket, and KL a lower bound."
        )
    noise = result.parity["noise_floor"]
    if noise is not None:
        words += (
            f"\n\nShare of the error: KL(R‖D) / KL(R‖B) = {noise['kl_ratio']:.3g} "
            f"(upper 95 % bound over prompts {noise['kl_ratio_upper']:.3g}), "
            f"RMS Δ log p ratio {noise['rms_ratio']:.3g}."
        )
    return words


_ROWS = (
    ("positions", "positions"),
    ("KL mean", "kl_mean"),
    ("KL p99", "kl_p99"),
    ("KL max", "kl_max"),
    ("RMS Δ log p of the chosen token", "delta_rms"),
    ("max abs Δ log p of the chosen token", "delta_max"),
    ("RMS Δ p of the chosen token", "delta_p_rms"),
    ("token agreement (top-1)", "top1"),
    ("top-5 overlap", "top5"),
    ("top-10 overlap", "top10"),
    ("Pearson, mean", "pearson"),
    ("Pearson, least", "pearson_min"),
    ("cosine", "cosine"),
    ("perplexity of the answers, first", "perplexity"),
    ("perplexity of the answers, second", "perplexity_other"),
)


def _overall(result: VerifyResult) -> str:
    pairs: dict[str, Any] = result.parity["pairs"]
    rows: list[tuple[Any, ...]] = [
        (label, *(_number(figures[key]) for figures in pairs.values())) for label, key in _ROWS
    ]
    rows.append(("flips", *(len(figures["flips"]) for figures in pairs.values())))
    widest = [max((f["margin"] for f in figures["flips"]), default=0.0) for figures in pairs.values()]
    rows.append(("widest margin at a flip", *map(_number, widest)))
    return _table(("measure", *(_PAIRS[name] for name in pairs)), rows)


def _per_prompt(result: VerifyResult) -> str:
    """The reports' table of KL per prompt, with agreement and Pearson of the pair that is judged."""
    pairs = list(result.parity["pairs"])
    judged = pairs[-1]
    header = (
        "#",
        "prompt",
        *(f"KL {_PAIRS[name]}" for name in pairs),
        "tokens agree",
        "top-5",
        "top-10",
        "Pearson",
    )
    rows = []
    for n, row in enumerate(result.prompts):
        found = row.get("parity")
        if found:
            one = found[judged]
            agree = f"{round(one['top1'] * one['positions'])}/{one['positions']}"
            overlaps = (f"{one['top5']:.0%}", f"{one['top10']:.0%}", f"{one['pearson']:.6f}")
            rows.append((n, row["prompt"], *(_number(found[p]["kl_mean"]) for p in pairs), agree, *overlaps))
    return f"Per prompt (the last four columns: {_PAIRS[judged]})\n\n" + _table(header, rows)


def _controls(result: VerifyResult) -> str:
    rows = [
        (name, _number(one["kl_mean"]), f"{one['top1']:.1%}", f"{one['top5']:.0%}", _number(one["pearson"]))
        for name, one in result.parity["controls"].items()
    ]
    return _table(
        ("a wrong reference against the device", "KL mean", "tokens agree", "top-5", "Pearson"), rows
    )


def _milliseconds(seconds: float | None) -> str:
    return "not kept by this engine" if seconds is None else f"{seconds * 1000:.2f} ms"


def _number(value: Any) -> str:
    if isinstance(value, float):
        # Correlations live between 0.99 and 1, where four digits would call them all 1.
        return f"{value:.6f}" if 0.99 < value < 1 else f"{value:.4g}"
    return "" if value is None else str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    """One cell: on one line and without a bar that would end it."""
    text = "" if value is None else str(value)
    return text.replace("\n", "⏎").replace("\r", "").replace("|", "\\|")
