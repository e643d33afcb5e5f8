"""The report of `fits`: whether a model loads there, what each card holds, how much context fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.formats import gibibytes
from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import Column, Judged, Paragraph, Report, Section, Table
from weightsmith.report.facts import fact_table, memory_text
from weightsmith.report.shared import closing_sections, model_section, note_sections, origin_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.documents import CardsEntry, FitsDocument, ReasonEntry
    from weightsmith.phrases import Phrase, Text
    from weightsmith.report.blocks import Cell

_VERDICTS = {
    "fits": Judged("pass", say("fits")),
    "does-not-fit": Judged("fail", say("does not fit")),
    "unknown": Judged("inconclusive", say("unknown")),
}


def report(document: FitsDocument) -> Report:
    """The whole report."""
    return Report(
        title=say("{model}: does it fit?", model=document["checkpoint"]["path"]),
        verdict=_VERDICTS[document["verdict"]],
        summary=tuple(_summary(document)),
        sections=tuple(_sections(document)),
    )


def _summary(document: FitsDocument) -> Iterator[Text]:
    target = document["target"]
    yield f"{target['engine']} · transformers {target['transformers']} · {target['cards']} × {target['chip']}"
    if document["min_cards"] is not None:
        yield say("Fewest cards that hold it: {count}.", count=document["min_cards"])
    yield origin_line(document)


def _sections(document: FitsDocument) -> Iterator[Section]:
    if document["reasons"]:
        columns = (Column(say("reason")), Column(say("verdict")), Column(say("what it means"), "long"))
        rows = tuple((one["code"], _weight(one), Sentence(one["message"])) for one in document["reasons"])
        yield Section(say("What stands in the way"), (Table(columns, rows),))
    yield from note_sections(document["notes"])
    worked_out = Paragraph(say("Worked out from the headers by weightsmith fits, not measured."))
    yield Section(say("On each card"), (fact_table(_memory(document)), worked_out))
    if document["by_cards"]:
        yield Section(say("On more cards, or fewer"), (_by_cards(document),))
    yield model_section(document["checkpoint"])
    yield from closing_sections(document)


def _weight(reason: ReasonEntry) -> Judged:
    if reason["weight"] == "open":
        return Judged("inconclusive", say("unknown"))
    return Judged("fail", say("refused") if reason["weight"] == "refused" else say("wrong answers"))


def _memory(document: FitsDocument) -> Iterator[tuple[Phrase | str, Cell]]:
    memory = document["target"]["memory_per_card"]
    yield say("memory of a card"), say("not known") if memory is None else gibibytes(memory)
    yield say("weights on one card"), memory_text(document["weights_bytes_per_card"])
    if document["kv_memory_per_card"] is not None:
        yield say("free for the KV cache"), memory_text(document["kv_memory_per_card"])
    yield say("KV cache per token"), f"{document['kv_bytes_per_token']:,} B"
    rows = (
        (say("KV cache"), document["kv_tokens"]),
        (say("longest sequence"), document["max_context"]),
        (say("length of the sequences asked for"), document["context"]),
    )
    for name, tokens in rows:
        if tokens is not None:
            yield name, say("{count} tokens", count=f"{tokens:,}")
    if document["concurrency"] is not None:
        yield say("sequences at a time"), f"{document['concurrency']:.1f}"


def _by_cards(document: FitsDocument) -> Table:
    columns = (
        Column(say("cards"), "number"),
        Column(say("weights on one card"), "number"),
        Column(say("KV cache"), "number"),
        Column(say("longest sequence"), "number"),
        Column(say("sequences at a time"), "number"),
    )
    return Table(columns, tuple(map(_cards, document["by_cards"])))


def _cards(entry: CardsEntry) -> tuple[Cell, ...]:
    return (
        str(entry["cards"]),
        memory_text(entry["weights_bytes_per_card"]),
        _count(entry["kv_tokens"]),
        _count(entry["max_context"]),
        "" if entry["concurrency"] is None else f"{entry['concurrency']:.1f}",
    )


def _count(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}"
