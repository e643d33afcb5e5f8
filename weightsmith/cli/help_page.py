"""Help and complaints about usage in another language than English: click writes them, and we say and fold them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightsmith.cli.layout import fold
from weightsmith.cli.terminal import aside, told
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Iterable

# click's own headings, and those of our examples: single words, which are no sentences.
_HEADINGS = {
    "Options": say("Options:"),
    "Commands": say("Commands:"),
    "Examples:": say("Examples:"),
}
# What stands before the words of an example, and of an exit code.
_MARK = re.compile(r" *(?:# |\d  )?")
_GUIDE = "More: "
# What click adds to the help of an option.
_EXTRA = re.compile(r"(?P<help>.*?)(?:(?:^|  )\[(?P<default>default: )?(?P<value>[^\]]*)\])?")


class _Page(click.HelpFormatter):
    """Writes what click hands it in the language of the screen. An ideograph is two columns wide."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, told(say("Usage: ")))

    def write_heading(self, heading: str) -> None:
        self.write(f"{' ' * self.current_indent}{told(_HEADINGS[heading])}\n")

    def write_text(self, text: str) -> None:
        """Paragraphs; one that begins with a line of \\b alone keeps its lines."""
        parts = [self._lines(paragraph) for paragraph in text.split("\n\n")]
        self.write("".join(f"{' ' * self.current_indent}{line}".rstrip() + "\n" for line in _joined(parts)))

    def _lines(self, paragraph: str) -> list[str]:
        room = max(self.width - self.current_indent, 11)
        first, *rest = paragraph.split("\n")
        if first.strip() == "\b":
            return [_example(line) for line in rest]
        return fold(told(Sentence(" ".join(paragraph.split()))), room)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Names, and beside each what it is."""
        listed = list(rows)
        column = min(max(len(name) for name, _ in listed), col_max) + col_spacing
        begin = " " * self.current_indent
        for name, text in listed:
            lines = fold(_option(text), max(self.width - column - len(begin), 10))
            beside = lines.pop(0) if len(name) + col_spacing <= column else ""
            self.write(f"{begin}{name.ljust(column)}{beside}".rstrip() + "\n")
            self.write("".join(f"{begin}{' ' * column}{line}\n" for line in lines))


class PageContext(click.Context):
    """A context whose help is written by it."""

    formatter_class = _Page


def _chinese_page(path: str) -> str:
    """The Chinese twin of a page of docs/, where there is one."""
    twin = f"{path.removesuffix('.md')}.zh.md"
    return twin if Path(twin).is_file() else path


def complain(message: str, context: click.Context | None) -> None:
    """What is wrong with a command line, as click says it."""
    if context is not None:
        for line in context.get_usage().splitlines():
            aside(line)
        aside(say("Try '{command} --help' for help.", command=context.command_path))
    aside(say("Error: {message}", message=Sentence(message)))


def _joined(paragraphs: Iterable[list[str]]) -> list[str]:
    """Lines, with an empty one between two paragraphs."""
    lines: list[str] = []
    for paragraph in paragraphs:
        lines += ["", *paragraph] if lines else paragraph
    return lines


def _example(line: str) -> str:
    if line in _HEADINGS:
        return told(_HEADINGS[line])
    if line.startswith(_GUIDE):
        return told(say("More: {page}", page=_chinese_page(line.removeprefix(_GUIDE))))
    if line.startswith("  weightsmith "):  # to be copied
        return line
    mark = _MARK.match(line)
    words = line if mark is None else line[mark.end() :]
    return line[: len(line) - len(words)] + told(Sentence(words))


def _option(text: str) -> str:
    """The help of an option, and its default."""
    found = _EXTRA.fullmatch(text)
    if found is None or found["value"] is None:
        return told(Sentence(text))
    value = Sentence(found["value"].strip("()"))
    extra = say("default: {value}", value=value) if found["default"] else value
    return f"{told(Sentence(found['help']))}（{told(extra)}）"
