"""The report's tables of numeric parity: all pairs, per prompt, flips, and the wrong references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.formats import number, percent
from weightsmith.report.markdown import table, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from weightsmith.verify.measure.noise import NoiseFloor
    from weightsmith.verify.measure.parity import Control, Figures, Pair, PairName
    from weightsmith.verify.result import ParityFacts, PromptRow

# The flips that are listed of each pair: the surest ones of the reference first.
_FLIPS = 10
_PAIRS: dict[PairName, str] = {
    "R-B": "FP32 CPU vs BF16 CPU",
    "R-D": "FP32 CPU vs BF16 device",
    "B-D": "BF16 CPU vs BF16 device",
    "F-D": "baseline vs BF16 device",
}


def sections(parity: ParityFacts, prompts: Sequence[PromptRow]) -> list[str]:
    """Paragraphs and tables in their order; an empty one where there is nothing to show."""
    measured = parity.measured
    return [
        words(parity),
        overall(measured.pairs, prompts),
        shares(measured.noise),
        per_prompt(tuple(measured.pairs), prompts),
        "### Flips",
        flips(measured.pairs),
        "### Negative controls",
        controls(measured.controls, parity.refused),
    ]


def words(parity: ParityFacts) -> str:
    """What the letters mean, how complete the figures are, and what was not computed now."""
    said = (
        "R: fp32 on the CPU. B: bf16 on the CPU. D: the device. R and B replay D's own greedy tokens; "
        "KL and Δ log p are in nats. Pearson of log-probabilities equals that of logits; cosine does not."
    )
    if parity.measured.partial:
        said += (
            " **Partial**: the engine gave its top tokens only, the rest is one bucket, and KL a lower bound."
        )
    if parity.cached:
        said += (
            f"\n\nFrom the cache, computed once for these very bytes and tokens: {', '.join(parity.cached)}."
        )
    for dtype, why in parity.layer_by_layer.items():
        said += f"\n\n{text(dtype)} was replayed layer by layer: {text(why)}."
    if parity.cache_fault:
        said += f"\n\nNot kept in the cache: {text(parity.cache_fault)}."
    return said


def shares(noise: NoiseFloor | None) -> str:
    """bf16's part in the device's error, and the device's own; nothing where fp32 and bf16 were not both run."""
    if noise is None:
        return ""
    rows = [
        ("KL(R‖D) / KL(R‖B)", number(noise.kl_ratio)),
        ("its upper 95 % bound over prompts", number(noise.kl_ratio_upper)),
        ("RMS Δ log p, R–D against R–B", number(noise.rms_ratio)),
        ("share of the squared error that is bf16's", percent(noise.bf16_share)),
        ("share that is the device's", percent(noise.device_share)),
    ]
    return table(("source of the error", "value"), rows)


_ROWS: tuple[tuple[str, Callable[[Figures], float | None]], ...] = (
    ("positions", lambda f: f.positions),
    ("KL mean", lambda f: f.kl_mean),
    ("KL p99", lambda f: f.kl_p99),
    ("KL max", lambda f: f.kl_max),
    ("RMS Δ log p of the chosen token", lambda f: f.delta_rms),
    ("max abs Δ log p of the chosen token", lambda f: f.delta_max),
    ("RMS Δ p of the chosen token", lambda f: f.delta_p_rms),
    ("token agreement (top-1)", lambda f: f.top1),
    ("top-5 overlap", lambda f: f.top5),
    ("top-10 overlap", lambda f: f.top10),
    ("Pearson, mean", lambda f: f.pearson),
    ("Pearson, least", lambda f: f.pearson_min),
    ("cosine", lambda f: f.cosine),
    ("perplexity of the answers, first", lambda f: f.perplexity),
    ("perplexity of the answers, second", lambda f: f.perplexity_other),
)


def overall(pairs: Mapping[PairName, Pair], prompts: Sequence[PromptRow]) -> str:
    """Every measure of every pair."""
    rows: list[tuple[object, ...]] = [
        (label, *(number(measure(pair.overall)) for pair in pairs.values())) for label, measure in _ROWS
    ]
    rows.append(("perplexity, difference", *(percent(_difference(pair.overall)) for pair in pairs.values())))
    by_prompt = [_differences(prompts, name) for name in pairs]
    rows.append(("of one prompt, mean", *(percent(sum(d) / len(d) if d else None) for d in by_prompt)))
    rows.append(("of one prompt, largest", *(percent(max(d, default=None)) for d in by_prompt)))
    rows.append(("flips", *(len(pair.flips) for pair in pairs.values())))
    widest = [max((flip.margin for flip in pair.flips), default=0.0) for pair in pairs.values()]
    rows.append(("widest margin at a flip", *map(number, widest)))
    return table(("measure", *(_PAIRS[name] for name in pairs)), rows)


def per_prompt(pairs: Sequence[PairName], prompts: Sequence[PromptRow]) -> str:
    """KL of every pair by prompt, and the rest of the pair that is judged."""
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
    for n, row in enumerate(prompts):
        if row.parity:
            one = row.parity[judged]
            figures = (
                f"{round(one.top1 * one.positions)}/{one.positions}",
                percent(one.top5, 0),
                percent(one.top10, 0),
                f"{one.pearson:.6f}",
                f"{one.cosine:.6f}",
                number(one.perplexity),
                number(one.perplexity_other),
                percent(_difference(one)),
            )
            rows.append((n, row.prompt, *(number(row.parity[p].kl_mean) for p in pairs), *figures))
    header = ("#", "prompt", *(f"KL {_PAIRS[name]}" for name in pairs), *last)
    return f"Per prompt; after KL: {_PAIRS[judged]}\n\n" + table(header, rows)


def flips(pairs: Mapping[PairName, Pair]) -> str:
    """Where the device preferred another token than each reference, and how sure the reference was of its own."""
    rows = [
        (_PAIRS[name], flip.prompt, flip.position, flip.wanted, flip.got, number(flip.margin))
        for name, pair in pairs.items()
        for flip in sorted(pair.flips, key=lambda one: -one.margin)[:_FLIPS]
    ]
    header = ("pair", "prompt", "position", "token id of the first", "of the second", "margin, nats")
    return table(header, rows) if rows else "None: every pair prefers the same token at every position."


def controls(run: Mapping[str, Control], refused: Mapping[str, str]) -> str:
    """The wrong references that were run, and why others, or a dtype, were not."""
    rows: list[tuple[object, ...]] = [
        (name, number(one.kl_mean), percent(one.top1, 1), percent(one.top5, 0), number(one.pearson), "")
        for name, one in ((name, control.pair.overall) for name, control in run.items())
    ]
    rows += [(name, "", "", "", "", why) for name, why in refused.items()]
    header = (
        "a wrong reference against the device",
        "KL mean",
        "tokens agree",
        "top-5",
        "Pearson",
        "not run",
    )
    return table(header, rows)


def _differences(prompts: Sequence[PromptRow], pair: PairName) -> list[float]:
    """By prompt, as far as perplexity is valid."""
    found = [row.parity[pair] for row in prompts if row.parity and pair in row.parity]
    return [apart for one in found if (apart := _difference(one)) is not None]


def _difference(figures: Figures) -> float | None:
    """|PPL' / PPL − 1|, None where perplexity is not valid."""
    one, other = figures.perplexity, figures.perplexity_other
    return None if one is None or other is None else abs(other / one - 1)
