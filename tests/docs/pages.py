"""The pages that people read, as values: their headings, blocks of code, tables, links and command lines."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Reports that `report` rendered lie in docs/examples: they are no prose of ours.
ENGLISH = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in DOCS.glob("*.md") if not page.name.endswith(".zh.md")),
)
CHINESE = (ROOT / "README.zh.md", ROOT / "CONTRIBUTING.zh.md", *sorted(DOCS.glob("*.zh.md")))

_FENCE = re.compile(r"^```(\w*).*\n((?:.*\n)*?)^```$", re.M)
_INDENTED = re.compile(r"(?<=\n\n)(?:    .*\n(?:\n(?=    ))?)+")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its language, "" where none is named, and its lines without their indentation."""

    language: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed: its words, and the file that its output goes into. shown: the output that the page shows."""

    words: tuple[str, ...]
    into: str | None
    shown: tuple[str, ...]


def other_language(page: Path) -> Path:
    """verify.md for verify.zh.md, and the other way round; it need not be there."""
    name = page.name
    return page.with_name(name.replace(".zh.md", ".md") if ".zh." in name else name.replace(".md", ".zh.md"))


def headings(text: str) -> list[int]:
    """The level of each heading, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", _FENCE.sub("", text), re.M)]


def blocks(text: str) -> list[Block]:
    fenced = [(m.start(), Block(m[1], tuple(m[2].splitlines()))) for m in _FENCE.finditer(text)]
    blank = _FENCE.sub(lambda m: "\n" * m[0].count("\n") + " " * (len(m[0]) - m[0].count("\n")), text)
    indented = [
        (m.start(), Block("", tuple(line[4:] for line in m[0].rstrip("\n").split("\n"))))
        for m in _INDENTED.finditer(blank)
    ]
    return [block for _, block in sorted(fenced + indented, key=lambda found: found[0])]


def links(text: str) -> list[str]:
    """Targets of links and pictures, but for those on the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def commands(text: str) -> list[Command]:
    """What the page tells people to type, in order: lines behind `$ `, else every line of a block of a shell."""
    return [command for block in blocks(text) for command in _typed(block)]


def _typed(block: Block) -> list[Command]:
    lines = "\n".join(block.lines).replace("\\\n", " ").split("\n")
    if any(line.startswith("$ ") for line in lines):
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")] + [len(lines)]
        return [_command(lines[a][2:], lines[a + 1 : b]) for a, b in pairwise(starts)]
    if block.language == "sh" or (not block.language and _is_shell(lines[0])):
        return [_command(line, ()) for line in lines if line.strip() and not line.startswith("#")]
    return []


def _is_shell(line: str) -> bool:
    return re.match(r"(weightsmith|make|pip|python[0-9.]*|\S+/pip) ", line) is not None


def _command(line: str, shown: list[str] | tuple[()]) -> Command:
    words = shlex.split(line, comments=True)
    into = None
    if ">" in words:
        words, into = words[: words.index(">")], words[words.index(">") + 1]
    return Command(tuple(words), into, tuple(line for line in shown if line.strip()))


def mentioned(text: str) -> list[tuple[str, ...]]:
    """Whole command lines of ours inside sentences: `weightsmith diff A B`."""
    spans = re.findall(r"(?<!`)`(weightsmith [^`\n]+)`(?!`)", _FENCE.sub("", text))
    return [words for words in (tuple(shlex.split(span)) for span in spans) if len(words) > 1]
