"""What `check` found, in the form that somebody reads: people, programs, GitHub, code scanning, CI systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.foreign_text import visible_json
from weightsmith.json_value import encode
from weightsmith.language import spoken

if TYPE_CHECKING:
    from weightsmith.check import Checked

__all__ = ["CheckForm", "render_checked"]

CheckForm: TypeAlias = Literal["text", "json", "github", "sarif", "junit"]


def render_checked(found: Checked, form: CheckForm) -> str:
    """The whole of it as text that ends with a line break; foreign text in it is escaped by the rules of the form."""
    from weightsmith.check.forms import github, junit, lines, sarif  # a terminal does without

    if form == "text":
        return "".join(f"{spoken(line, 'en')}\n" for line in lines.lines(found))
    if form == "github":
        return "".join(f"{line}\n" for line in github.commands(found))
    if form == "junit":
        return junit.document(found)
    document = found.document() if form == "json" else sarif.document(found)
    return visible_json(encode(document)) + "\n"
