"""The report's tables of numeric parity: all three pairs, per prompt, flips, and the wrong twins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightsmith.report.markdown import number, table

if TYPE_CHECKING:
    from weightsmith.verify.result import VerifyResult

# The flips that are listed of each pair: the surest ones of the reference first.
_FLIPS = 10
_PAIRS = {
    "R-B": "FP32 CPU vs BF16 CPU",
    "R-D": "FP32 CPU vs BF16 device",
    "B-D": "BF16 CPU vs BF16 device",
    "F-D": "baseline vs BF16 device",
}


def words(result: VerifyResult) -> str:
    """What the letters mean, how complete the figures are, and what was not computed now."""
    parity = result.parity
    text = (
        "R: fp32 on the CPU. B: bf16 on the CPU. D: the device. R and B replay D's own greedy tokens; "
        "KL and Δ log p are in nats. Pearson of log-probabilities equals that of logits; cosine does not."
    )
    if parity["partial"]:
        text += (
            " **Partial**: the engine gave its top tokens only, the rest is one bucket, and KL a lower bound."
        )
    if parity.get("cached"):
        text += f"\n\nFrom the cache, computed once for these very bytes and tokens: {', '.join(parity['cached'])}."
    for dtype, why in parity.get("layer_by_layer", {}).items():
        text += f"\n\n{dtype} was replayed layer by layer: {why}."
    if parity.get("cache_fault"):
        text += f"\n\nNot kept in the cache: {parity['cache_fault']}."
    return text


def shares(result: VerifyResult) -> str:
    """bf16's part in the device's error, and the device's own; nothing where fp32 and bf16 were not both run."""
    noise = result.parity["noise_floor"]
    if noise is None:
        return ""
    rows = [
        ("KL(R‖D) / KL(R‖B)", number(noise["kl_ratio"])),
        ("its upper 95 % bound over prompts", number(noise["kl_ratio_upper"])),
        ("RMS Δ log p, R–D against R–B", number(noise["rms_ratio"])),
        ("share of the squared error that is bf16's", _percent(noise["bf16_share"])),
        ("share that is the device's", _percent(noise["device_share"])),
    ]
    return table(("source of the error", "value"), rows)


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


def overall(result: VerifyResult) -> str:
    """Every measure of every pair."""
    pairs: dict[str, Any] = result.parity["pairs"]
    rows: list[tuple[Any, ...]] = [
        (label, *(number(figures[key]) for figures in pairs.values())) for label, key in _ROWS
    ]
    rows.append(("perplexity, difference", *(_difference(figures) for figures in pairs.values())))
    by_prompt = [_differences(result, name) for name in pairs]
    rows.append(("of one prompt, mean", *(_percent(sum(d) / len(d) if d else None) for d in by_prompt)))
    rows.append(("of one prompt, largest", *(_percent(max(d, default=None)) for d in by_prompt)))
    rows.append(("flips", *(len(figures["flips"]) for figures in pairs.values())))
    widest = [max((f["margin"] for f in figures["flips"]), default=0.0) for figures in pairs.values()]
    rows.append(("widest margin at a flip", *map(number, widest)))
    return table(("measure", *(_PAIRS[name] for name in pairs)), rows)


def per_prompt(result: VerifyResult) -> str:
    """KL of every pair by prompt, and the rest of the pair that is judged."""
    pairs = list(result.parity["pairs"])
    judged = pairs[-1]
    last = (
        "tokens agree",
        "top-5",
        "top-10",
        "Pearson",
        "cosine",
        "perplexity",
        "of the device",
        "difference",
    )
    rows = []
    for n, row in enumerate(result.prompts):
        found = row.get("parity")
        if found:
            one = found[judged]
            figures = (
                f"{round(one['top1'] * one['positions'])}/{one['positions']}",
                f"{one['top5']:.0%}",
                f"{one['top10']:.0%}",
                f"{one['pearson']:.6f}",
                f"{one['cosine']:.6f}",
                number(one["perplexity"]),
                number(one["perplexity_other"]),
                _difference(one),
            )
            rows.append((n, row["prompt"], *(number(found[p]["kl_mean"]) for p in pairs), *figures))
    header = ("#", "prompt", *(f"KL {_PAIRS[name]}" for name in pairs), *last)
    return f"Per prompt; after KL: {_PAIRS[judged]}\n\n" + table(header, rows)


def flips(result: VerifyResult) -> str:
    """Where the device preferred another token than each reference, and how sure the reference was of its own."""
    rows = [
        (_PAIRS[name], flip["prompt"], flip["position"], flip["wanted"], flip["got"], number(flip["margin"]))
        for name, figures in result.parity["pairs"].items()
        for flip in sorted(figures["flips"], key=lambda one: -one["margin"])[:_FLIPS]
    ]
    header = ("pair", "prompt", "position", "token id of the first", "of the second", "margin, nats")
    return table(header, rows) if rows else "None: every pair prefers the same token at every position."


def controls(result: VerifyResult) -> str:
    """The wrong twins that were run, and why others, or a dtype, were not."""
    rows: list[tuple[Any, ...]] = [
        (name, number(one["kl_mean"]), f"{one['top1']:.1%}", f"{one['top5']:.0%}", number(one["pearson"]), "")
        for name, one in result.parity["controls"].items()
    ]
    rows += [(name, "", "", "", "", why) for name, why in result.parity.get("refused", {}).items()]
    header = (
        "a wrong reference against the device",
        "KL mean",
        "tokens agree",
        "top-5",
        "Pearson",
        "not run",
    )
    return table(header, rows)


def _difference(figures: dict[str, Any]) -> str:
    return _percent(_apart(figures))


def _differences(result: VerifyResult, pair: str) -> list[float]:
    """By prompt, as far as perplexity is valid."""
    found = [row["parity"][pair] for row in result.prompts if pair in row.get("parity", {})]
    return [apart for one in found if (apart := _apart(one)) is not None]


def _apart(figures: dict[str, Any]) -> float | None:
    """|PPL' / PPL − 1|, None where perplexity is not valid."""
    one, other = figures["perplexity"], figures["perplexity_other"]
    return None if one is None or other is None else abs(other / one - 1)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.3%}" if abs(share) < 0.01 else f"{share:.1%}"
