"""Numeric parity: all pairs, prompt by prompt, flips, and the wrong references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.formats import number, percent
from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import (
    Bar,
    Bars,
    Column,
    Dots,
    Judged,
    Paragraph,
    Scatter,
    Section,
    Series,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weightsmith.phrases import Phrase
    from weightsmith.report.blocks import Block, Cell
    from weightsmith.report.document import Document, FiguresRead, FlipRead

# The flips that are listed of each pair: the surest ones of the reference first.
_FLIPS = 10
_PAIRS = {
    "R-B": say("FP32 CPU vs BF16 CPU"),
    "R-D": say("FP32 CPU vs BF16 device"),
    "B-D": say("BF16 CPU vs BF16 device"),
    "F-D": say("baseline vs BF16 device"),
}
# The pair that the ceilings are for: the first of these that there is.
_JUDGED = ("B-D", "R-D", "F-D")


def sections(document: Document) -> Iterator[Section]:
    """Of a run that was compared with something."""
    yield Section(say("Numeric parity"), tuple(_overall(document)))
    yield Section(say("Prompt by prompt"), tuple(_per_prompt(document)), level=3)
    yield Section(say("Flips"), tuple(_flips(document)), level=3)
    yield Section(say("Negative controls"), tuple(_controls(document)), level=3)


def _names(document: Document) -> list[str]:
    return [name for name in _PAIRS if name in document.parity.pairs]


def _judged(document: Document) -> str:
    names = _names(document)
    return next((name for name in _JUDGED if name in names), names[-1] if names else "")


def _words(document: Document) -> Iterator[Paragraph]:
    """What the letters mean, how complete the figures are, and what was not computed now."""
    parity = document.parity
    yield Paragraph(
        say(
            "R: fp32 on the CPU. B: bf16 on the CPU. D: the device. R and B replay D's own greedy tokens; KL and "
            "Δ log p are in nats. Pearson of log-probabilities equals that of logits; cosine does not."
        )
    )
    if parity.half != "bfloat16":
        yield Paragraph(
            say("The engine computes in {half}, and so does B: read it for bf16.", half=parity.half),
            strong=True,
        )
    if parity.partial:
        yield Paragraph(
            say(
                "Partial: the engine gave its top tokens only, the rest is one bucket, and KL a lower bound."
            ),
            strong=True,
        )
    if parity.cached:
        names = ", ".join(parity.cached)
        yield Paragraph(
            say("From the cache, computed once for these very bytes and tokens: {names}.", names=names)
        )
    for dtype, why in parity.layer_by_layer.items():
        yield Paragraph(say("{dtype} was replayed layer by layer: {why}.", dtype=dtype, why=Sentence(why)))
    if parity.cache_fault:
        yield Paragraph(say("Not kept in the cache: {why}.", why=Sentence(parity.cache_fault)))


_ROWS: tuple[tuple[Phrase, Callable[[FiguresRead], float | None]], ...] = (
    (say("positions"), lambda f: f.positions),
    (say("KL mean"), lambda f: f.kl_mean),
    (say("KL p99"), lambda f: f.kl_p99),
    (say("KL max"), lambda f: f.kl_max),
    (say("RMS Δ log p of the chosen token"), lambda f: f.delta_rms),
    (say("max abs Δ log p of the chosen token"), lambda f: f.delta_max),
    (say("RMS Δ p of the chosen token"), lambda f: f.delta_p_rms),
    (say("token agreement (top-1)"), lambda f: f.top1),
    (say("top-5 overlap"), lambda f: f.top5),
    (say("top-10 overlap"), lambda f: f.top10),
    (say("Pearson, mean"), lambda f: f.pearson),
    (say("Pearson, least"), lambda f: f.pearson_min),
    (say("cosine"), lambda f: f.cosine),
    (say("perplexity of the answers, first"), lambda f: f.perplexity),
    (say("perplexity of the answers, second"), lambda f: f.perplexity_other),
)
# The rows that a check of their own judges.
_CHECKS = {"KL mean": "parity.kl_mean", "KL max": "parity.kl_max", "token agreement (top-1)": "parity.tokens"}


def _overall(document: Document) -> Iterator[Block]:
    yield from _words(document)
    if document.parity.chosen is not None and document.parity.chosen.of_device:
        yield _scatter(document)
    pairs = {name: document.parity.pairs[name] for name in _names(document)}
    rows: list[tuple[Cell, ...]] = []
    for label, measure in _ROWS:
        verdict = document.verdict_of(_CHECKS.get(label.english, ""))
        judged = None if verdict is None else Judged(verdict)
        rows.append((label, *(number(measure(pair)) for pair in pairs.values()), judged))
    apart = [percent(_difference(pair)) for pair in pairs.values()]
    rows.append((say("perplexity, difference"), *apart, None))
    by_prompt = [_differences(document, name) for name in pairs]
    means = [percent(sum(d) / len(d) if d else None) for d in by_prompt]
    rows.append((say("of one prompt, mean"), *means, None))
    rows.append((say("of one prompt, largest"), *(percent(max(d, default=None)) for d in by_prompt), None))
    rows.append((say("flips"), *(str(len(pair.flips)) for pair in pairs.values()), None))
    widest = [max((flip.margin or 0.0 for flip in pair.flips), default=0.0) for pair in pairs.values()]
    rows.append((say("widest margin at a flip"), *map(number, widest), None))
    names = (Column(_PAIRS[name], "number") for name in pairs)
    filled = tuple(row for row in rows if any(row[1:]))
    yield Table((Column(say("measure")), *names, Column(say("verdict"))), filled)
    yield from _shares(document)


def _scatter(document: Document) -> Scatter:
    chosen = document.parity.chosen
    assert chosen is not None
    sides = {"R": say("fp32 on the CPU, log p"), "B": say("bf16 on the CPU, log p")}
    points = tuple(zip(chosen.of_reference, chosen.of_device, strict=False))
    title = say(
        "Log-probability of each chosen token: {shown} of {count} positions",
        shown=f"{len(points):,}",
        count=f"{chosen.positions:,}",
    )
    return Scatter(title, sides[chosen.reference], say("the device, log p"), points)


def _shares(document: Document) -> Iterator[Block]:
    """bf16's part in the device's error, and the device's own."""
    noise = document.parity.noise_floor
    if noise is None:
        return
    verdict = document.verdict_of("parity.noise")
    rows: tuple[tuple[Cell, ...], ...] = (
        ("KL(R‖D) / KL(R‖B)", number(noise.kl_ratio), None),
        (
            say("its upper 95 % bound over prompts"),
            number(noise.kl_ratio_upper),
            None if verdict is None else Judged(verdict),
        ),
        (say("RMS Δ log p, R–D against R–B"), number(noise.rms_ratio), None),
        (say("share of the squared error that is bf16's"), percent(noise.bf16_share), None),
        (say("share that is the device's"), percent(noise.device_share), None),
    )
    yield Table(
        (Column(say("source of the error")), Column(say("value"), "number"), Column(say("verdict"))), rows
    )


def _per_prompt(document: Document) -> Iterator[Block]:
    """KL of every pair by prompt, and the rest of the pair that is judged."""
    names, judged = _names(document), _judged(document)
    compared = [(n, row) for n, row in enumerate(document.prompts) if judged in row.parity]
    if not compared:
        return
    yield _by_prompt(document, judged)
    check = document.check("parity.kl_prompt")
    limit = check.threshold if check is not None and isinstance(check.threshold, int | float) else None
    rows: list[tuple[Cell, ...]] = []
    for n, row in compared:
        kls = (number(row.parity[name].kl_mean) if name in row.parity else "" for name in names)
        rows.append(
            (str(n), row.prompt, *kls, _within(row.parity[judged].kl_mean, limit), *_rest(row.parity[judged]))
        )
    columns = (
        Column("#", "number"),
        Column(say("prompt"), "long"),
        *(Column(say("KL {pair}", pair=_PAIRS[name]), "number") for name in names),
        Column(say("verdict")),
        *(Column(name, "number") for name in _REST),
    )
    title = say("Figures of each prompt; after KL: {pair}", pair=_PAIRS[judged])
    yield Table(columns, tuple(rows), folded=title)


_REST = (
    say("tokens agree"),
    say("top-5"),
    say("top-10"),
    say("Pearson"),
    say("cosine"),
    say("perplexity"),
    say("of the device"),
    say("difference"),
)


def _rest(one: FiguresRead) -> tuple[Cell, ...]:
    agreed = (
        "" if one.top1 is None else f"{round(min(max(one.top1, 0.0), 1.0) * one.positions)}/{one.positions}"
    )
    return (
        agreed,
        percent(one.top5, 0),
        percent(one.top10, 0),
        "" if one.pearson is None else f"{one.pearson:.6f}",
        "" if one.cosine is None else f"{one.cosine:.6f}",
        number(one.perplexity),
        number(one.perplexity_other),
        percent(_difference(one)),
    )


def _within(kl: float | None, limit: float | None) -> Cell:
    if kl is None or limit is None:
        return None
    return Judged("pass" if kl <= limit else "fail")


def _by_prompt(document: Document, judged: str) -> Dots:
    """The judged pair and bf16's own noise, with the mean of the latter as the line."""
    floor = document.parity.pairs.get("R-B")
    shown = [judged] if floor is None or judged == "R-B" else [judged, "R-B"]
    series = tuple(
        Series(
            _PAIRS[name],
            tuple(row.parity[name].kl_mean if name in row.parity else None for row in document.prompts),
        )
        for name in shown
    )
    line = None
    if floor is not None and floor.kl_mean:
        line = (say("noise floor: bf16 itself, mean"), floor.kl_mean)
    return Dots(say("Mean KL of each prompt, nats"), say("prompt number"), series, line)


def _flips(document: Document) -> Iterator[Block]:
    """Where the device preferred another token than each reference, and how sure the reference was of its own."""
    surest: list[tuple[str, FlipRead]] = [
        (name, flip)
        for name in _names(document)
        for flip in sorted(document.parity.pairs[name].flips, key=lambda one: -(one.margin or 0.0))[:_FLIPS]
    ]
    if not surest:
        yield Paragraph(say("None: every pair prefers the same token at every position."))
        return
    tie = document.limit("near_tie")
    bars = tuple(
        Bar(
            say("prompt {prompt}, token {position}", prompt=flip.prompt, position=flip.position),
            flip.margin or 0.0,
            number(flip.margin),
            (flip.margin or 0.0) <= tie,
        )
        for name, flip in surest
        if name == _judged(document)
    )
    if bars:
        title = say("Margin of the reference's own token at each flip, nats")
        yield Bars(title, bars, limit=(say("near tie"), tie))
    columns = (
        Column(say("pair")),
        Column(say("prompt"), "number"),
        Column(say("position"), "number"),
        Column(say("token id of the first"), "number"),
        Column(say("of the second"), "number"),
        Column(say("margin, nats"), "number"),
        Column(say("judged")),
    )
    yield Table(columns, tuple(_flip(name, flip, tie) for name, flip in surest))


def _flip(name: str, flip: FlipRead, tie: float) -> tuple[Cell, ...]:
    near = (flip.margin or 0.0) <= tie
    return (
        _PAIRS[name],
        str(flip.prompt),
        str(flip.position),
        str(flip.wanted),
        str(flip.got),
        number(flip.margin),
        say("near tie: harmless") if near else say("beyond a near tie"),
    )


def _controls(document: Document) -> Iterator[Block]:
    """The wrong references that were run, and why others, or a dtype, were not."""
    rows: list[tuple[Cell, ...]] = []
    for name, one in document.parity.controls.items():
        verdict = document.verdict_of(f"control.{name}")
        shares = (percent(one.top1, 1), percent(one.top5, 0))
        judged = None if verdict is None else Judged(verdict)
        rows.append((name, judged, number(one.kl_mean), *shares, number(one.pearson)))
    if rows:
        columns = (
            Column(say("a wrong reference against the device")),
            Column(say("verdict")),
            Column(say("KL mean"), "number"),
            Column(say("tokens agree"), "number"),
            Column(say("top-5"), "number"),
            Column(say("Pearson"), "number"),
        )
        yield Paragraph(
            say("Each must fail the gates; a control that passes them shows that they prove nothing.")
        )
        yield Table(columns, tuple(rows))
    for name, why in document.parity.refused.items():
        yield Paragraph(say("Not run: {name}: {why}", name=name, why=Sentence(why)))


def _differences(document: Document, pair: str) -> list[float]:
    """By prompt, as far as perplexity is valid."""
    found = [row.parity[pair] for row in document.prompts if pair in row.parity]
    return [apart for one in found if (apart := _difference(one)) is not None]


def _difference(figures: FiguresRead) -> float | None:
    """|PPL' / PPL − 1|, None where perplexity is not valid."""
    one, other = figures.perplexity, figures.perplexity_other
    return None if not one or other is None else abs(other / one - 1)
