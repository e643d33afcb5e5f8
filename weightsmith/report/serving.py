"""What was done at the server: the accuracy of tasks, and the figures of loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.formats import percent
from weightsmith.phrases import say
from weightsmith.report.blocks import Bar, Bars, Column, Judged, Paragraph, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.report.blocks import Block, Cell
    from weightsmith.report.document import BenchRead, Document, TaskRead
    from weightsmith.verify.engine.bench_job import Latency, LoadRun


def sections(document: Document) -> Iterator[Section]:
    """Of a run in which a server was asked more than the engine's own questions."""
    if document.tasks:
        yield Section(say("Task accuracy"), tuple(_tasks(document)))
    if document.bench.loads:
        yield Section(say("Under load"), tuple(_loads(document, document.bench)))


def _tasks(document: Document) -> Iterator[Block]:
    columns = (
        Column(say("task")),
        Column(say("verdict")),
        Column(say("metric")),
        Column(say("examples"), "number"),
        Column(say("items"), "number"),
        Column(say("accuracy"), "number"),
        Column(say("baseline"), "number"),
        Column(say("drop, pp"), "number"),
        Column(say("explained by chance, pp"), "number"),
        Column(say("tolerated, pp"), "number"),
        Column(say("detectable, pp"), "number"),
        Column(say("lost"), "number"),
        Column(say("gained"), "number"),
    )
    yield Paragraph(
        say(
            "Asked of the server by lm-evaluation-harness {version}. A task fails where its drop is larger than both "
            "what chance explains (one run in 40) and what is tolerated. Detectable: a true drop that four runs in "
            "five would see.",
            version=document.tasks[0].harness,
        )
    )
    yield Table(columns, tuple(_task(document, one) for one in document.tasks))
    for source in dict.fromkeys(one.source for one in document.tasks if one.source):
        yield Paragraph(say("The baseline is from {source}.", source=source))


def _task(document: Document, task: TaskRead) -> tuple[Cell, ...]:
    verdict = document.verdict_of(f"task.{task.name}")
    known: tuple[Cell, ...] = (
        task.name,
        None if verdict is None else Judged(verdict),
        task.metric,
        _count(task.shots),
        f"{len(task.items):,}",
        percent(task.accuracy, 1),
    )
    against = task.against
    if against is None:
        return (*known, *[""] * 7)
    shares = (against.drop, against.noise, against.tolerance, against.detectable)
    return (
        *known,
        percent(against.baseline, 1),
        *("" if one is None else f"{100 * one:.2f}" for one in shares),
        _count(against.lost),
        _count(against.gained),
    )


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _loads(document: Document, bench: BenchRead) -> Iterator[Block]:
    columns = (
        Column(say("at a time"), "number"),
        Column(say("input"), "number"),
        Column(say("output"), "number"),
        Column(say("requests"), "number"),
        Column(say("tok/s"), "number"),
        Column(say("tok/s with prompts"), "number"),
        Column(say("TTFT, ms"), "number"),
        Column(say("TPOT, ms"), "number"),
        Column(say("latency, s"), "number"),
    )
    yield Paragraph(
        say(
            "Measured by vLLM's own client (vllm bench serve) on {device}, with the settings of this run; random "
            "tokens, greedy, answers as long as asked. Latencies: median / 90 % / 99 %.",
            device=document.device.name,
        )
    )
    yield Table(columns, tuple(_load(one) for one in bench.loads))
    if bench.source and any(one.output_per_s is not None for one in bench.ratios):
        yield from _ratios(bench)
    yield _latencies(bench)


def _load(run: LoadRun) -> tuple[Cell, ...]:
    load = run.load
    return (
        str(load.concurrency),
        str(load.input),
        str(load.output),
        f"{run.completed}/{load.requests}",
        f"{run.output_per_s:.1f}",
        f"{run.total_per_s:.1f}",
        _spread(run.ttft),
        _spread(run.tpot),
        _spread(run.latency, 1000, 3),
    )


def _spread(latency: Latency, unit: float = 1, decimals: int = 1) -> str:
    return " / ".join(f"{ms / unit:.{decimals}f}" for ms in (latency.p50, latency.p90, latency.p99))


def _ratios(bench: BenchRead) -> Iterator[Block]:
    yield Paragraph(
        say(
            "Against {source} ({where}), this run over that one; of latencies the medians:",
            source=bench.source,
            where="; ".join(filter(None, (bench.device, bench.engine, bench.settings))),
        )
    )
    columns = (
        Column(say("at a time"), "number"),
        Column(say("input"), "number"),
        Column(say("output"), "number"),
        Column(say("throughput"), "number"),
        Column("TTFT", "number"),
        Column("TPOT", "number"),
        Column(say("latency"), "number"),
    )
    rows = []
    for run, ratio in zip(bench.loads, bench.ratios, strict=False):
        found = (ratio.output_per_s, ratio.ttft, ratio.tpot, ratio.latency)
        shown = ("" if one is None else f"{one:.2f} ×" for one in found)
        rows.append((str(run.load.concurrency), str(run.load.input), str(run.load.output), *shown))
    yield Table(columns, tuple(rows))


def _latencies(bench: BenchRead) -> Bars:
    bars = [
        Bar(
            say("{count} at a time: {percentile}", count=run.load.concurrency, percentile=name),
            ms / 1000,
            f"{ms / 1000:.3f} s",
        )
        for run in bench.loads
        for name, ms in (("50 %", run.latency.p50), ("90 %", run.latency.p90), ("99 %", run.latency.p99))
    ]
    return Bars(say("Latency of a request under load"), tuple(bars))
