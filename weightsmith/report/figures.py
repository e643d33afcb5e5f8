"""What the engine answered, whether it repeats itself, and how fast it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.formats import gibibytes, milliseconds, number, percent
from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import Bar, Bars, Column, Judged, Paragraph, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.phrases import Phrase
    from weightsmith.report.blocks import Block, Cell
    from weightsmith.report.document import Document, PerformanceRead
    from weightsmith.verify.engine.startup import Startup

_SHARE = "overhead_share"


def sections(document: Document) -> Iterator[Section]:
    """Of a run in which an engine answered."""
    if document.prompts:
        yield Section(say("Answers (greedy)"), (_answers(document),))
    if document.determinism or document.engine.eager_and_graphs:
        yield Section(say("Determinism"), tuple(_determinism(document)))
    if document.performance is not None:
        yield Section(say("Performance"), tuple(_performance(document, document.performance)))


def seconds(stages: Mapping[str, float]) -> Section:
    """Where the time went."""
    rows = tuple((stage, f"{s:.1f}") for stage, s in stages.items() if stage != _SHARE)
    table = Table((Column(say("stage")), Column(say("s"), "number")), rows, say("Seconds of every stage"))
    if _SHARE not in stages:
        return Section(say("Where the time went"), (table,) if rows else ())
    words = say(
        "Overhead (beyond the engine's start and generation and the reference's passes): {share} of the run.",
        share=percent(stages[_SHARE], 1),
    )
    return Section(say("Where the time went"), (Paragraph(words), table))


def _answers(document: Document) -> Table:
    columns = (
        Column("#", "number"),
        Column(say("prompt"), "long"),
        Column(say("answer"), "long"),
        Column(say("expected")),
        Column(say("as expected")),
        Column(say("tokens"), "number"),
        Column(say("s, alone"), "number"),
    )
    verdicts = {True: Judged("pass"), False: Judged("fail"), None: None}
    return Table(
        columns,
        tuple(
            (
                str(n),
                row.prompt,
                say("left out: longer than the model takes") if row.answer is None else row.answer,
                row.expect,
                verdicts[row.answered],
                str(len(row.token_ids)),
                "" if row.alone_s is None else f"{row.alone_s:.3f}",
            )
            for n, row in enumerate(document.prompts)
        ),
    )


def _determinism(document: Document) -> Iterator[Block]:
    columns = (
        Column(say("against the first pass")),
        Column(say("verdict")),
        Column(say("same tokens"), "number"),
        Column(say("same bits"), "number"),
        Column(say("max abs Δ log p"), "number"),
        Column(say("parted"), "number"),
    )
    rows: list[tuple[Cell, ...]] = []
    bars = []
    for one in document.determinism:
        verdict = document.verdict_of(f"determinism.{one.name}")
        judged = None if verdict is None else Judged(verdict)
        same = f"{one.same_tokens}/{one.prompts}"
        bits = f"{one.same_bits}/{one.prompts}"
        rows.append((one.name, judged, same, bits, number(one.delta_max), str(len(one.parted))))
        whole = max(1, one.prompts)
        label = say("{name}: same bits", name=one.name)
        bars.append(Bar(label, one.same_bits / whole, bits, one.same_bits == one.prompts))
    if rows:
        yield Bars(say("Answers that are the same to the bit, by arrangement"), tuple(bars), whole=1.0)
        yield Table(columns, tuple(rows))
    if document.engine.eager_and_graphs:
        why = Sentence(document.engine.eager_and_graphs)
        yield Paragraph(say("Eager mode against graphs: {why}.", why=why))


def _performance(document: Document, found: PerformanceRead) -> Iterator[Block]:
    yield Table((Column(say("measure")), Column(say("value"), "number")), tuple(_measures(document, found)))
    alone = [(row.prompt, row.alone_s) for row in document.prompts if row.alone_s is not None]
    if alone:
        bars = tuple(Bar(prompt, s, f"{s:.3f} s") for prompt, s in alone)
        yield Bars(say("Latency of a request by itself"), bars)


def _measures(document: Document, found: PerformanceRead) -> Iterator[tuple[Phrase, Cell]]:
    if "engine import" in document.seconds:
        yield say("load: importing the engine"), _seconds(document.seconds["engine import"])
    yield say("load: weights, compilation, warm-up"), _seconds(found.load_s)
    if document.served is not None and document.served.loading is not None:
        yield say("load: the server, until it is healthy"), _seconds(document.served.loading)
        yield from _startup(document.served.startup)
    yield say("single request, throughput"), _rate(found.single_tokens_per_s)
    yield say("single request, TTFT"), _latency(found.single_ttft_s)
    yield say("single request, TPOT"), _latency(found.single_tpot_s)
    yield say("single request, latency"), _latency(found.single_latency_s)
    batch = found.batch_requests
    yield say("batch of {count}, throughput", count=batch), _rate(found.batch_tokens_per_s)
    yield say("batch of {count}, tokens", count=batch), f"{found.batch_tokens:,}"
    if found.kv_cache_tokens:
        yield say("KV cache"), say("{count} tokens", count=f"{found.kv_cache_tokens:,}")
    if document.foretold:
        yield say("KV cache, foretold by weightsmith fits"), document.foretold
    yield say("peak memory"), gibibytes(found.peak_memory_bytes, 2)


def _startup(found: Startup) -> Iterator[tuple[Phrase, Cell]]:
    """What the server's log says of its loading, as far as it does."""
    told = (
        (say("load: the server's weights"), found.weights_s, "s"),
        (say("load: the server's compilation"), found.compile_s, "s"),
        (say("load: the server's graphs"), found.graphs_s, "s"),
        (say("load: the server's warm-up, compilation and graphs included"), found.warm_up_s, "s"),
        (say("weights on each device"), found.weights_gib, "GiB"),
        (say("KV cache of each device"), found.kv_gib, "GiB"),
    )
    for name, value, unit in told:
        if value is not None:
            yield name, f"{value:.2f} {unit}"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} tok/s"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _latency(value: float | None) -> Cell:
    return say("not kept by this engine") if value is None else milliseconds(value)
