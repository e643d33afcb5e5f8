"""What the reports of all commands have in common: where they come from, what was read, how to repeat it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import Code, Column, Paragraph, Section, Table
from weightsmith.report.facts import fact_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.documents import CheckpointSummary, Origin, ProblemEntry
    from weightsmith.phrases import Phrase
    from weightsmith.report.blocks import Cell

# Of a text that is copied, such as a config: the JSON has the rest.
_MOST_LINES = 1000


def value_text(value: object) -> str:
    """A value as JSON has it, but a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def origin_line(document: Origin) -> str:
    """When and by what it was made."""
    parts = (document.get("made"), _version("weightsmith", document.get("weightsmith")))
    return " · ".join(filter(None, (*parts, _version("python", document.get("python")))))


def _version(name: str, version: str | None) -> str | None:
    return None if version is None else f"{name} {version}"


def checkpoint_rows(summary: CheckpointSummary) -> Iterator[tuple[Phrase | str, Cell]]:
    """What was read, as rows of facts."""
    files = summary["files"]
    yield say("path"), summary["path"]
    yield say("format"), summary["format"]
    yield say("files"), files[0] if len(files) == 1 else str(len(files))
    yield say("tensors"), f"{summary['tensors']:,}"
    yield say("parameters"), f"{summary['parameters']:,}"
    yield say("bytes of the weights"), f"{summary['bytes']:,}"
    yield say("dtypes"), ", ".join(f"{dtype} {count:,}" for dtype, count in summary["dtypes"].items())


def model_section(summary: CheckpointSummary, *more: tuple[Phrase | str, Cell]) -> Section:
    """The checkpoint, and facts behind its own."""
    return Section(say("Model"), (fact_table((*checkpoint_rows(summary), *more)),))


def problem_sections(problems: Sequence[ProblemEntry]) -> Iterator[Section]:
    """Nothing where there are none."""
    if problems:
        columns = (Column(say("problem")), Column(say("what it means"), "long"))
        rows = tuple((problem["code"], Sentence(problem["message"])) for problem in problems)
        yield Section(say("Known problems"), (Table(columns, rows),))


def note_sections(notes: Sequence[str]) -> Iterator[Section]:
    """Nothing where there are none."""
    if notes:
        yield Section(say("Notes"), tuple(Paragraph(Sentence(note)) for note in notes))


def lines_of(text: str) -> tuple[str, ...]:
    """The first lines of a long text."""
    lines = text.split("\n")
    return (*lines[:_MOST_LINES], "…") if len(lines) > _MOST_LINES else tuple(lines)


def closing_sections(document: Origin) -> Iterator[Section]:
    """Hashes of what the result rests on, and the command line."""
    hashes = document.get("fingerprint", {})
    if hashes:
        columns = (Column(say("file")), Column(say("hash"), "code"))
        blocks = [Table(columns, tuple(hashes.items()))]
        if any(name.rpartition(" ")[2] == "tensors" for name in hashes):
            words = say("“tensors” is the hash of all names, dtypes and shapes; the numbers are not hashed.")
            yield Section(say("Hashes"), (*blocks, Paragraph(words)))
        else:
            yield Section(say("Hashes"), tuple(blocks))
    if document.get("command_line"):
        words = say("This report is made of the result of one command; with --json it prints that result.")
        yield Section(say("How to repeat it"), (Code((document["command_line"],), "sh"), Paragraph(words)))
