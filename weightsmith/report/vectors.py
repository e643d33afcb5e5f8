"""The vectors of a model that generates no text: all pairs, text by text, other batches, and the wrong references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.formats import number
from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import Column, Judged, Paragraph, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.phrases import Phrase
    from weightsmith.report.blocks import Block, Cell
    from weightsmith.report.document import ApartRead, Document, VectorPairRead, VectorsRead

_TASKS = {"embed": say("embed"), "classify": say("classify"), "score": say("score")}


def sections(document: Document, vectors: VectorsRead) -> Iterator[Section]:
    """Of a run in which an engine made vectors."""
    yield Section(say("Vectors"), tuple(_overall(document, vectors)))
    yield Section(say("Text by text"), (_texts(document, vectors),), level=3)
    yield Section(say("Determinism"), tuple(_repeated(document, vectors)), level=3)
    yield Section(say("Negative controls"), tuple(_controls(document, vectors)), level=3)


def _overall(document: Document, vectors: VectorsRead) -> Iterator[Block]:
    yield _made_of(vectors)
    if not vectors.pairs:
        return
    words = (
        say(
            "R: fp32 on the CPU. B: {half} on the CPU. D: the device. A distance is a share of the first "
            "vector's length.",
            half=vectors.half,
        )
        if vectors.task == "embed"
        else say(
            "R: fp32 on the CPU. B: {half} on the CPU. D: the device. A distance is the largest difference of a "
            "logit, in nats.",
            half=vectors.half,
        )
    )
    yield Paragraph(words)
    yield _pairs(document, vectors)
    if vectors.noise is not None:
        verdict = _judged(document, "parity.noise")
        rows: tuple[tuple[Cell, ...], ...] = (
            (say("squared distance of D from R over that of B"), number(vectors.noise.ratio), None),
            (say("its upper 95 % bound over texts"), number(vectors.noise.upper), verdict),
        )
        columns = Column(say("source of the error")), Column(say("value"), "number"), Column(say("verdict"))
        yield Table(columns, rows)


def _made_of(vectors: VectorsRead) -> Table:
    answers = {True: say("yes"), False: say("no"), None: None}
    rows: list[tuple[Cell, ...]] = [
        (say("task"), _TASKS.get(vectors.task, vectors.task)),
        (say("numbers of a vector"), str(vectors.width)),
    ]
    if vectors.task == "embed":
        rows.append((say("pooling"), vectors.pooling))
        rows.append((say("normalised to length 1"), answers[vectors.normalised]))
    return Table((Column(say("what a vector is made of")), Column(say("value"))), tuple(rows))


def _pairs(document: Document, vectors: VectorsRead) -> Table:
    pairs = vectors.pairs.values()
    judged = _judged(document, "parity.distance")
    rows: tuple[tuple[Cell, ...], ...] = (
        (say("cosine, least"), *(_cosine(pair.cosine_min) for pair in pairs), None),
        (say("cosine, mean"), *(_cosine(pair.cosine_mean) for pair in pairs), None),
        (say("distance, largest"), *(number(pair.distance_max) for pair in pairs), judged),
        (say("distance, RMS"), *(number(pair.distance_rms) for pair in pairs), None),
    )
    names = (Column(name.replace("-", "–"), "number") for name in vectors.pairs)
    filled = tuple(row for row in rows if any(row[1:]))
    return Table((Column(say("measure")), *names, Column(say("verdict"))), filled)


def _judged(document: Document, check: str) -> Judged | None:
    verdict = document.verdict_of(check)
    return None if verdict is None else Judged(verdict)


def _cosine(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _texts(document: Document, vectors: VectorsRead) -> Table:
    names = tuple(vectors.pairs)
    cosines = names if vectors.task == "embed" else ()
    check = document.check("parity.distance")
    limit = check.threshold if check is not None and isinstance(check.threshold, int | float) else None
    last = names[-1] if names else ""
    columns = (
        Column("#", "number"),
        Column(say("text"), "long"),
        Column(say("tokens"), "number"),
        *(Column(say("cosine {pair}", pair=name.replace("-", "–")), "number") for name in cosines),
        *(Column(say("distance {pair}", pair=name.replace("-", "–")), "number") for name in names),
        Column(say("verdict")),
    )
    rows = tuple(
        (
            str(row.number),
            " → ".join(row.text),
            str(row.tokens),
            *(_cosine(_of(row.parity, name, "cosine")) for name in cosines),
            *(number(_of(row.parity, name, "distance")) for name in names),
            _within(_of(row.parity, last, "distance"), limit),
        )
        for row in vectors.rows
    )
    return Table(columns, rows)


def _of(parity: Mapping[str, ApartRead], name: str, figure: str) -> float | None:
    found = parity.get(name)
    if found is None:
        return None
    return found.cosine if figure == "cosine" else found.distance


def _within(distance: float | None, limit: float | None) -> Judged | None:
    if distance is None or limit is None:
        return None
    return Judged("pass" if distance <= limit else "fail")


def _repeated(document: Document, vectors: VectorsRead) -> Iterator[Block]:
    rows = tuple(
        (name, _judged(document, f"determinism.{name}"), *_figures(pair))
        for name, pair in vectors.repeated.items()
    )
    if rows:
        yield Table((Column(say("arrangement")), Column(say("verdict")), *_COLUMNS), rows)


def _controls(document: Document, vectors: VectorsRead) -> Iterator[Block]:
    """The wrong references that were run, and why others, or a dtype, were not."""
    rows: list[tuple[Cell, ...]] = [
        (name, _judged(document, f"control.{name}"), *_figures(pair))
        for name, pair in vectors.controls.items()
    ]
    rows += [
        (say("{name}: {why}", name=name, why=Sentence(why)), None, "", "")
        for name, why in vectors.refused.items()
    ]
    if rows:
        name: Phrase = say("a wrong reference against the device, or why there is none")
        yield Table((Column(name), Column(say("verdict")), *_COLUMNS), tuple(rows))


_COLUMNS = (Column(say("cosine, least"), "number"), Column(say("distance, largest"), "number"))


def _figures(pair: VectorPairRead) -> tuple[Cell, Cell]:
    return _cosine(pair.cosine_min), number(pair.distance_max)
