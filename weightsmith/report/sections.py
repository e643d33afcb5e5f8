"""The report of a verification: its verdict, what was not tested, what is wrong, and then everything in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.formats import number
from weightsmith.phrases import Sentence, Text, say
from weightsmith.report import facts, figures, parity, serving, vectors
from weightsmith.report.blocks import Cell, Column, Items, Judged, Paragraph, Report, Section, Table
from weightsmith.report.features import Feature, features

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.report.blocks import Block
    from weightsmith.report.document import Document


def report(document: Document) -> Report:
    """The whole report. Sections whose figures were never taken are left out, and the checks say why."""
    return Report(
        title=say("{model}: verification report", model=document.model.name),
        verdict=Judged(document.verdict),
        summary=tuple(_summary(document)),
        sections=tuple(section for section in _sections(document) if section.blocks),
    )


def _summary(document: Document) -> Iterator[Text]:
    counts = {
        verdict: sum(check.verdict == verdict for check in document.checks)
        for verdict in ("pass", "fail", "inconclusive")
    }
    yield say(
        "{passed} checks passed, {failed} failed, {open} inconclusive.",
        passed=counts["pass"],
        failed=counts["fail"],
        open=counts["inconclusive"],
    )
    versions = document.engine.versions or document.device.seen.packages
    engines = ", ".join(f"{name} {versions[name]}" for name in versions if name.startswith("vllm"))
    where = f"{document.device.kind}: {document.device.name}"
    yield " · ".join(filter(None, (document.made, where, engines, f"weightsmith {document.weightsmith}")))


def _sections(document: Document) -> Iterator[Section]:
    tested = features(document)
    yield Section(say("Not tested"), _not_tested(tested))
    yield Section(say("Known problems"), tuple(_problems(document)))
    yield Section(say("Checks"), tuple(_checks(document)))
    yield Section(say("What was tested"), (_features(tested),))
    yield from facts.model_sections(document)
    yield from facts.environment_sections(document)
    if document.ran:
        yield from figures.sections(document)
        yield from serving.sections(document)
    if document.parity.pairs:
        yield from parity.sections(document)
    if document.vectors is not None:
        yield from vectors.sections(document, document.vectors)
    yield from facts.use_sections(document)
    yield figures.seconds(document.seconds)


def _not_tested(found: Sequence[Feature]) -> tuple[Block, ...]:
    return (Items(tuple((one.name, _told(one)) for one in found if one.verdict is None)),)


def _features(found: Sequence[Feature]) -> Table:
    rows = tuple((one.name, Judged(one.verdict), _told(one)) for one in found if one.verdict is not None)
    return Table((Column(say("feature")), Column(say("verdict")), Column(say("what was seen"), "long")), rows)


def _problems(document: Document) -> Iterator[Block]:
    rows: list[tuple[Cell, ...]] = [
        (check.name, Judged(check.verdict), Sentence(check.detail))
        for check in sorted(document.checks, key=lambda check: check.verdict != "fail")
        if check.verdict != "pass"
    ]
    rows += [(say("warning"), None, Sentence(warning)) for warning in document.device.warnings]
    if rows:
        yield Table(
            (Column(say("check")), Column(say("verdict")), Column(say("what it means"), "long")), tuple(rows)
        )
    else:
        yield Paragraph(say("None: every check passed, and the device gave no warning."))


def _checks(document: Document) -> Iterator[Block]:
    columns = (
        Column(say("check")),
        Column(say("verdict")),
        Column(say("value"), "number"),
        Column(say("limit"), "number"),
        Column(say("what it means"), "long"),
    )
    yield Table(
        columns,
        tuple(
            (
                check.name,
                Judged(check.verdict),
                number(check.value),
                number(check.threshold),
                Sentence(check.detail),
            )
            for check in document.checks
        ),
    )
    changed = [
        f"{name} {pair[0]:g} / {pair[-1]:g}" for name, pair in document.own_limits.items() if len(pair) > 1
    ]
    if changed:
        yield Paragraph(say("Own limits (own / usual): {limits}", limits=", ".join(changed)), strong=True)


def _told(feature: Feature) -> Text:
    """What a check or the run itself says is a sentence."""
    return Sentence(feature.said) if isinstance(feature.said, str) else feature.said
