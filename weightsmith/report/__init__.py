"""A kept result of a command as Markdown or HTML, in English or Chinese: a function of its JSON document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from weightsmith.language import Language
from weightsmith.report import html, markdown
from weightsmith.report.bounds import bounded
from weightsmith.report.kinds import composed

if TYPE_CHECKING:
    from weightsmith.documents import ReportDocument
    from weightsmith.json_value import JsonObject

__all__ = ["Form", "Language", "Rendered", "render"]

Form = Literal["markdown", "html"]


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

    called: the document's file, for errors. Raises InvalidConfig where it is no document that a report is made of.
    """
    found = bounded(composed(document, called))
    text = markdown.render(found, language) if form == "markdown" else html.render(found, language)
    return Rendered(text, form, language)
