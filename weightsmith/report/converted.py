"""The report of `convert`: what was written, what was changed on the way, and the hashes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import Column, Judged, Report, Section, Table
from weightsmith.report.facts import fact_table
from weightsmith.report.shared import (
    closing_sections,
    note_sections,
    origin_line,
    problem_sections,
    value_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.documents import ConvertDocument
    from weightsmith.phrases import Phrase, Text
    from weightsmith.report.blocks import Cell

_VERDICTS = {
    "written": Judged("pass", say("written")),
    "planned": Judged("pass", say("planned, nothing was written")),
    "unsound": Judged("fail", say("no loader gets through with it")),
}


def report(document: ConvertDocument) -> Report:
    """The whole report."""
    return Report(
        title=say("{model}: conversion report", model=document["output"]),
        verdict=_VERDICTS[document["verdict"]],
        summary=tuple(_summary(document)),
        sections=tuple(_sections(document)),
    )


def _summary(document: ConvertDocument) -> Iterator[Text]:
    counts = document["tensors"]
    yield say(
        "{converted} tensors converted, {copied} copied, {created} created, {dropped} dropped.",
        converted=f"{counts['converted']:,}",
        copied=f"{counts['copied']:,}",
        created=f"{counts['created']:,}",
        dropped=f"{counts['dropped']:,}",
    )
    yield origin_line(document)


def _sections(document: ConvertDocument) -> Iterator[Section]:
    yield from problem_sections(document["problems"])
    yield from note_sections(document["notes"])
    yield Section(say("What was done"), (fact_table(_done(document)),))
    if document["config_changes"]:
        yield Section(say("Changes of the config"), (_changes(document),))
    files = tuple((name,) for name in document["files"])
    yield Section(say("Files of the output"), (Table((Column(say("file")),), files),))
    if document["left_out"]:
        columns = (Column(say("file")), Column(say("why"), "long"))
        yield Section(
            say("Left out"),
            (Table(columns, tuple((name, Sentence(why)) for name, why in document["left_out"].items())),),
        )
    yield from closing_sections(document)


def _changes(document: ConvertDocument) -> Table:
    columns = (Column(say("setting")), Column(say("before"), "number"), Column(say("after"), "number"))
    rows = tuple(
        (change["name"], _shown(change["from"]), _shown(change["to"]))
        for change in document["config_changes"]
    )
    return Table(columns, rows)


def _done(document: ConvertDocument) -> Iterator[tuple[Phrase | str, Cell]]:
    yield say("source"), document["source"]
    yield say("output folder"), document["output"]
    yield say("converter"), document["converter"]
    yield say("chosen because"), Sentence(document["reason"])
    for name, value in document["options"].items():
        yield name, value_text(value)
    yield say("bytes of weights read"), f"{document['bytes']['read']:,}"
    yield say("bytes of weights written"), f"{document['bytes']['written']:,}"
    yield say("time"), f"{document['seconds']:.2f} s"


def _shown(value: object) -> Cell:
    return say("absent") if value is None else value_text(value)
