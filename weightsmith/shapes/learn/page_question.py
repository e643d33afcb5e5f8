"""What `learn_page` asks its child process, and what the child answers: both travel as JSON objects."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject


@dataclass(frozen=True, slots=True)
class PageQuestion:
    """code, auto_map: a folder whose own classes are to be learned and their names; None and empty for the classes of
    transformers."""

    model_type: str
    code: str | None
    auto_map: JsonObject

    def document(self) -> JsonObject:
        return asdict(self)

    @staticmethod
    def read(document: JsonObject) -> PageQuestion:
        return PageQuestion(
            str(document["model_type"]),
            cast("str | None", document["code"]),
            cast("JsonObject", document["auto_map"]),
        )


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """Either a page, as the catalog's files have it, or the reason why there is none."""

    page: JsonObject | None
    error: str = ""

    def document(self) -> JsonObject:
        return {"page": self.page} if self.page is not None else {"error": self.error}

    @staticmethod
    def read(document: JsonObject) -> PageAnswer:
        """A child that ended without an answer is reported as {"error": why}, too."""
        page = cast("JsonObject | None", document.get("page"))
        return PageAnswer(page, str(document.get("error", "gave no answer")))
