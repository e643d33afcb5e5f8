"""A result of a command as Markdown, HTML or JSON, in English or Chinese: a function of its JSON document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from weightsmith.foreign_text import visible_json
from weightsmith.json_value import encode
from weightsmith.language import Language
from weightsmith.report import html, markdown
from weightsmith.report.bounds import bounded
from weightsmith.report.kinds import OF_CONFIG, composed

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.documents import ReportDocument
    from weightsmith.json_value import JsonObject

__all__ = ["Form", "Language", "Rendered", "form_of", "render"]

Form = Literal["markdown", "html", "json"]
_FORMS: dict[str, Form] = {".html": "html", ".htm": "html", ".json": "json"}


def form_of(file: Path | None) -> Form:
    """What a report is written as, told by the name of its file."""
    return "markdown" if file is None else _FORMS.get(file.suffix.lower(), "markdown")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A report. text: the whole of it. written: to which file; None: to none."""

    text: str
    form: Form
    language: Language
    written: str | None = None

    def document(self) -> ReportDocument:
        """The JSON of the command line's contract: all but the text."""
        return {
            "command": "report",
            "report": self.written,
            "form": self.form,
            "language": self.language,
        }


def render(
    document: JsonObject, form: Form = "markdown", language: Language = "en", called: str = "it"
) -> Rendered:
    """The document of a command's `--json` as a report; the document itself says which command it is of.

    json: the document as it is, from which the other forms are made again.
    called: the document's file, for errors. Raises InvalidConfig where it is no document that a report is made of.
    """
    found = composed(document, called)
    if form == "json":
        return Rendered(visible_json(encode(document, infinite=OF_CONFIG)) + "\n", form, language)
    written = html.render if form == "html" else markdown.render
    return Rendered(written(bounded(found), language), form, language)
