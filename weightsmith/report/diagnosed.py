"""The report of `doctor`: what is wrong with a machine, causes first, and all that was looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import Code, Column, Judged, Paragraph, Report, Section, Table
from weightsmith.report.shared import closing_sections, origin_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.documents import DoctorDocument, FindingEntry
    from weightsmith.phrases import Text
    from weightsmith.report.blocks import Block, Cell

_STATES: dict[str, Cell] = {
    "ok": Judged("pass", say("ok")),
    "warn": Judged("inconclusive", say("warning")),
    "fail": Judged("fail", say("fails")),
    "absent": say("absent"),
}


def report(document: DoctorDocument) -> Report:
    """The whole report."""
    ill = any(check["verdict"] == "fail" for check in document["checks"])
    return Report(
        title=say("The NPU stack of this machine"),
        verdict=Judged("fail", say("something fails")) if ill else Judged("pass", say("nothing fails")),
        summary=tuple(_summary(document)),
        sections=tuple(_sections(document)),
    )


def _summary(document: DoctorDocument) -> Iterator[Text]:
    states: list[str] = [check["verdict"] for check in document["checks"]]
    yield Sentence(document["conclusion"])
    yield say(
        "{ok} checks are as they should be, {warn} are warnings, {fail} fail; {absent} are about what is not here.",
        **{state: states.count(state) for state in _STATES},
    )
    yield origin_line(document)


def _sections(document: DoctorDocument) -> Iterator[Section]:
    ill = [check for check in document["checks"] if check["verdict"] in ("warn", "fail")]
    roots = [check for check in ill if check["follows_from"] is None]
    roots.sort(key=lambda check: (check["verdict"] != "fail", -len(check["cause_of"])))
    nothing = Paragraph(say("Nothing is to be mended."))
    blocks = tuple(block for root in roots for block in _root(root)) or (nothing,)
    yield Section(say("What to mend"), blocks)
    yield Section(say("Checks"), (_checks(document["checks"]),))
    yield from closing_sections(document)


def _root(check: FindingEntry) -> Iterator[Block]:
    yield Paragraph(say("{name}: {found}", name=check["name"], found=Sentence(check["found"])), strong=True)
    if check["cause_of"]:
        yield Paragraph(say("From it follow: {names}.", names=", ".join(check["cause_of"])))
    if check["fix"]:
        yield Code((check["fix"],), "sh")


def _checks(checks: Sequence[FindingEntry]) -> Table:
    """What is ill first."""
    columns = (
        Column(say("check")),
        Column(say("verdict")),
        Column(say("found"), "long"),
        Column(say("expected"), "long"),
        Column(say("follows from")),
    )
    ordered = sorted(checks, key=lambda check: ("fail", "warn", "absent", "ok").index(check["verdict"]))
    return Table(
        columns,
        tuple(
            (
                one["name"],
                _STATES[one["verdict"]],
                Sentence(one["found"]),
                Sentence(one["expected"]),
                one["follows_from"],
            )
            for one in ordered
        ),
    )
