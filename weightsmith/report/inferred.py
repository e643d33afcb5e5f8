"""The report of `infer-config`: what the weights say of the config, and the corrected one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weightsmith.json_value import encode
from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import Code, Column, Judged, Paragraph, Report, Section, Table
from weightsmith.report.shared import (
    closing_sections,
    lines_of,
    model_section,
    origin_line,
    problem_sections,
    value_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.documents import (
        BehaviourFindingEntry,
        EvidenceEntry,
        FieldEntry,
        InferConfigDocument,
        ProofEntry,
        ValueFindingEntry,
    )
    from weightsmith.phrases import Phrase, Text
    from weightsmith.report.blocks import Block, Cell

_VERDICTS = {
    "agrees": Judged("pass", say("agrees")),
    "derived": Judged("pass", say("derived")),
    "differs": Judged("fail", say("differs")),
    "guessed": Judged("inconclusive", say("guessed")),
    "unknown": Judged("inconclusive", say("unknown")),
}
_STATES: dict[str, Cell] = {
    "agrees": Judged("pass", say("agrees")),
    "differs": Judged("fail", say("differs")),
    "missing": Judged("fail", say("missing")),
    "ambiguous": Judged("inconclusive", say("ambiguous")),
    "unverifiable": say("no shape can tell"),
}
_TELLING: dict[str, Literal["pass", "fail", "inconclusive"]] = {
    "told": "pass",
    "contradicted": "fail",
    "not told": "inconclusive",
}
_MOST_EVIDENCE = 3
# Characters of a value that is not folded.
_LONGEST_NUMBER = 40


def report(document: InferConfigDocument) -> Report:
    """The whole report."""
    return Report(
        title=say("{model}: what its config should be", model=document["checkpoint"]["path"]),
        verdict=_VERDICTS[document["verdict"]],
        summary=tuple(_summary(document)),
        sections=tuple(_sections(document)),
    )


def _summary(document: InferConfigDocument) -> Iterator[Text]:
    states = [field["status"] for field in document["fields"]]
    yield say(
        "{agree} settings agree with the weights, {differ} differ or are missing, {open} are open. Of {kept} more no "
        "shape can tell.",
        agree=states.count("agrees"),
        differ=states.count("differs") + states.count("missing"),
        open=states.count("ambiguous"),
        kept=states.count("unverifiable"),
    )
    yield origin_line(document)


def _sections(document: InferConfigDocument) -> Iterator[Section]:
    fields = document["fields"]
    wrong = [field for field in fields if field["status"] not in ("agrees", "unverifiable")]
    nothing = Paragraph(say("Nothing in the config contradicts the weights."))
    yield Section(say("What the weights say of the config"), (_fields(wrong) if wrong else nothing,))
    yield from problem_sections(document["problems"])
    if document.get("values"):
        yield Section(say("What the numbers tell"), (_values(document["values"]),))
    if document.get("behaviour"):
        yield Section(say("What known texts say of the settings"), (_behaviour(document["behaviour"]),))
    if document["guesses"]:
        yield Section(say("Guesses"), tuple(_guesses(document)))
    if document["misread"]:
        words = say(
            "The config is in the words of {dialect}. Other versions take these otherwise:",
            dialect=str(document["dialect"]),
        )
        yield Section(say("Dialect"), (Paragraph(words), *map(Paragraph, document["misread"])))
    if "proof" in document:
        yield Section(say("Built by transformers"), tuple(_proof(document["proof"])))
    folded = (
        (say("Settings that agree, with their evidence"), "agrees"),
        (say("Settings that no shape can tell"), "unverifiable"),
    )
    tables = ((words, [field for field in fields if field["status"] == state]) for words, state in folded)
    found = tuple(_fields(rows, words) for words, rows in tables if rows)
    if found:
        yield Section(say("All other settings"), found)
    named = tuple(_names(document))
    if named:
        yield Section(say("Tensors that do not fit"), named)
    config = lines_of(encode(document["config"], infinite=document["config"]))
    yield Section(say("The corrected config"), (Code(config, "json"),))
    yield _model(document)
    yield from closing_sections(document)


def _model(document: InferConfigDocument) -> Section:
    found = document["architecture"]
    rows: list[tuple[Phrase | str, Cell]] = [
        (say("family"), found["model_type"]),
        (say("class"), ", ".join(found["architectures"])),
        (say("families with the same tensors"), ", ".join(found["alternatives"])),
        (say("tensors that nothing explains"), str(len(found["unmatched_tensors"]))),
        (say("tensors that are missing"), str(len(found["missing_tensors"]))),
    ]
    return model_section(document["checkpoint"], *rows)


def _names(document: InferConfigDocument) -> Iterator[Table]:
    found = document["architecture"]
    for words, names in (
        (say("Missing: the config demands them"), found["missing_tensors"]),
        (say("Stored, and nothing explains them"), found["unmatched_tensors"]),
    ):
        if names:
            yield Table((Column(say("tensor")),), tuple((name,) for name in names), words)


def _fields(fields: Sequence[FieldEntry], folded: Phrase | None = None) -> Table:
    values = [value_text(field[side]) for field in fields for side in ("configured", "derived")]
    kind: Literal["number", "long"] = "number" if max(map(len, values)) <= _LONGEST_NUMBER else "long"
    columns = (
        Column(say("setting")),
        Column(say("config.json"), kind),
        Column(say("the weights"), kind),
        Column(say("state")),
        Column(say("evidence"), "long"),
    )
    return Table(columns, tuple(map(_field, fields)), folded)


def _field(field: FieldEntry) -> tuple[Cell, ...]:
    configured: Cell = None
    if field["configured"] is not None or field["status"] == "differs":
        configured = value_text(field["configured"])
    elif field["default"] is not None:
        configured = say("{value} by default", value=value_text(field["default"]))
    derived = "" if field["derived"] is None else value_text(field["derived"])
    told = "; ".join(map(_evidence, field["evidence"][:_MOST_EVIDENCE]))
    return field["name"], configured, derived, _STATES[field["status"]], Sentence(told)


def _evidence(seen: EvidenceEntry) -> str:
    place = (
        seen["tensor"] if seen["axis"] is None else f"{seen['tensor']} axis {seen['axis']} = {seen['size']}"
    )
    return f"{place}: {seen['equation']}"


def _guesses(document: InferConfigDocument) -> Iterator[Block]:
    columns = (
        Column(say("setting")),
        Column(say("taken"), "number"),
        Column(say("also possible"), "long"),
        Column(say("settled by"), "code"),
    )
    rows = tuple(
        (
            guess["name"],
            value_text(guess["value"]),
            ", ".join(map(value_text, guess["candidates"][1:])),
            guess["settle"],
        )
        for guess in document["guesses"]
    )
    yield Paragraph(say("Nothing decides these settings: several values explain the weights."))
    yield Table(columns, rows)


def _values(findings: Sequence[ValueFindingEntry]) -> Table:
    columns = (Column(say("question")), Column(say("answer"), "long"), Column(say("tensors"), "long"))
    rows = tuple(
        (finding["name"], Judged(_TELLING[finding["telling"]], Sentence(finding["says"])), finding["tensors"])
        for finding in findings
    )
    return Table(columns, rows)


def _behaviour(findings: Sequence[BehaviourFindingEntry]) -> Table:
    columns = (Column(say("setting")), Column(say("answer"), "long"))
    rows = tuple(
        (finding["name"], Judged(_TELLING[finding["telling"]], Sentence(finding["says"])))
        for finding in findings
    )
    return Table(columns, rows)


def _proof(proof: ProofEntry) -> Iterator[Block]:
    words = say(
        "{reference} built {architecture} from the corrected config: {count} tensors.",
        reference=proof["reference"],
        architecture=proof["architecture"],
        count=f"{proof['tensors']:,}",
    )
    yield Paragraph(words)
    if not proof["differences"]:
        yield Paragraph(say("Every name and shape is as stored."))
        return
    columns = (Column(say("tensor")), Column(say("stored"), "number"), Column(say("built"), "number"))
    yield Table(
        columns,
        tuple((one["tensor"], _shape(one["stored"]), _shape(one["built"])) for one in proof["differences"]),
    )


def _shape(shape: Sequence[int] | None) -> str:
    return "" if shape is None else " × ".join(map(str, shape))
