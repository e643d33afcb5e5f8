"""The only place that prints: results for people or one JSON document on stdout, everything else on stderr.

All text goes through `visible`, so that nothing in it acts on the terminal; JSON says the same in escapes. On a
terminal lines and tables are fitted to its width and coloured; elsewhere every line is whole and plain. click itself
prints help and complaints about usage, to the same streams. A phrase is said in the language that `speak` was told.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from weightsmith.cli import streams
from weightsmith.errors import TargetRefused, WeightsmithError
from weightsmith.foreign_text import fitted, shortened, visible, visible_json
from weightsmith.json_value import encode
from weightsmith.language import spoken

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import TextIO

    from rich.console import Console

    from weightsmith.checkpoint import Problem
    from weightsmith.cli.layout import Table
    from weightsmith.language import Language
    from weightsmith.phrases import Text

# Exit codes: the verdict is good; the verdict is bad; it could not be done.
DONE, BAD, FAILED = 0, 1, 2

# Characters of a line about an error or a problem: more is cut out of the middle.
LONGEST_LINE = 500
# Narrower than this no table can be read, wider than this no sentence.
_NARROWEST, _WIDEST = 40, 160

# The colour of a cell, or of a line, that begins with a sign or a word.
_STYLES = {
    "✓": "green", "✗": "bold red", "?": "yellow", "!": "yellow", "·": "dim", "–": "dim",
    "error:": "bold red", "warning:": "yellow", "problem:": "yellow", "verdict:": "bold",
}  # fmt: skip


class _Voice:
    """The language of the screen, for the whole run."""

    language: Language = "en"


def speak(language: Language) -> None:
    """The language of all that is said from now on: English where the streams have no characters for another one."""
    _Voice.language = language if language == "en" or _can_write("权重：") else "en"


def _can_write(text: str) -> bool:
    return all(streams.encodable(text, stream) == text for stream in (sys.stdout, sys.stderr))


def language() -> Language:
    """What `speak` was told."""
    return _Voice.language


def told(text: Text) -> str:
    """A text in the language of the screen."""
    return spoken(text, _Voice.language)


def delivered(code: int) -> int:
    """The exit code of a command that would end with `code`: FAILED where its result could not be written."""
    flush()
    lost = streams.fault(sys.stdout)
    if code == FAILED or lost is None:  # why it failed, has been said
        return code
    why = (lost.strerror or "it failed").lower()
    fail(
        TargetRefused("stdout", f"could not be written ({why})", "the result was not delivered: run it again")
    )
    flush()
    return FAILED


def flush() -> None:
    """Sends what is still buffered."""
    sys.stdout.flush()
    sys.stderr.flush()


def show_json(document: Mapping[str, object], of_config: Collection[str] = ()) -> None:
    """Exactly one JSON document on stdout. NaN and infinity, which JSON lacks, become null.

    of_config: top-level keys under which values of a config stand. Infinity is one of these (Mamba's
    `time_step_limit`) and a config must stay what it is: it is written as 1e999 there.
    """
    sys.stdout.write(_json_text(document, of_config) + "\n")


def show_json_list(documents: Iterable[Mapping[str, object]], of_config: Collection[str] = ()) -> None:
    """The same for a list of documents, each as soon as it is there: together they may be larger than the memory."""
    sys.stdout.write("[")
    for number, document in enumerate(documents):
        sys.stdout.write(",\n" if number else "\n")
        sys.stdout.write(_json_text(document, of_config))
    sys.stdout.write("\n]\n")


def _json_text(document: Mapping[str, object], of_config: Collection[str]) -> str:
    text = visible_json(encode(document, infinite=of_config))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal that is not UTF-8
        return encode(document, infinite=of_config, ascii_only=True)
    return text


def show_document(text: str) -> None:
    """A document whose format fixes its encoding, UTF-8: as it is, on stdout, whatever the encoding there is."""
    if (sys.stdout.encoding or "utf-8").lower() in ("utf-8", "utf8"):
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())


def line(text: Text = "", indent: int = 2) -> None:
    """A line of the result: stdout. indent: of its further lines, where it is longer than the terminal is wide."""
    _write(visible(told(text)), sys.stdout, indent, _style(spoken(text, "en")))


def next_step(command: str) -> None:
    """The last line of a result: what to run now. It is never folded, so that it can be copied."""
    from weightsmith.phrases import say

    words = told(say("next:"))
    gap = 1 if words.isascii() else 0  # a colon in Chinese is as wide as both
    if _columns(sys.stdout) is None:
        sys.stdout.write(f"{words}{' ' * gap}{visible(command)}\n")
    else:
        _styled([(words, "bold"), (visible(command), "cyan")], sys.stdout, gap)


def aside(text: Text) -> None:
    """A line beside the result: stderr, so that stdout stays the result alone."""
    _write(one_line(told(text)), sys.stderr, 2, _style(spoken(text, "en")))


def one_line(text: str) -> str:
    """The text as one visible line of at most LONGEST_LINE characters."""
    return shortened(visible(text), LONGEST_LINE)


def fail(error: WeightsmithError) -> None:
    """The one line that says why nothing could be done: file, fact and way out, the longest of them cut."""
    from weightsmith.phrases import Sentence, say

    parts = [visible(told(Sentence(part))) for part in (error.subject, error.fact, error.way_out)]
    subject, fact, way_out = fitted(parts, LONGEST_LINE - len("error: : ; "))
    aside(say("error: {subject}: {fact}; {way_out}", subject=subject, fact=fact, way_out=way_out))


def warn(problems: Iterable[Problem], of: str = "") -> None:
    """Says what is wrong with a checkpoint and did not stop the command. of: which of several."""
    from weightsmith.phrases import Sentence, say

    for problem in problems:
        named = f"{of}: " if of not in problem.message else ""
        message = Sentence(problem.message)
        aside(say("warning: {of}{message} [{code}]", of=named, message=message, code=problem.code))


def table(
    rows: Iterable[Sequence[object]],
    headers: Sequence[Text],
    right: Collection[Text] = (),
    *,
    note: bool = False,
) -> None:
    """Rows of text. right: headers of columns of numbers. note: the last column explains the rows.

    On a terminal columns give way until they fit, and notes stand under their rows where it is too narrow for them.
    """
    from weightsmith.cli.layout import Table

    titles = tuple(map(told, headers))
    shown = [tuple(map(_cell, row)) for row in rows]
    if note and not any(row[-1] for row in shown):  # nothing has to be explained
        titles, shown, note = titles[:-1], [row[:-1] for row in shown], False
    made = Table(titles, tuple(shown), frozenset(map(told, right)), note)
    columns = _columns(sys.stdout)
    if columns is None:
        sys.stdout.write(_whole(made) + "\n")
        return
    for number, cells in enumerate(made.fitted(columns)):
        styles = ["bold" if number == 0 else "dim" if number == 1 else _style(cell) for cell in cells]
        _styled(list(zip(cells, styles, strict=True)), sys.stdout)


def _cell(value: object) -> str:
    """What stands in a table: foreign text, a phrase, or a number."""
    from weightsmith.phrases import Phrase

    if value is None:
        return ""
    text = told(value) if isinstance(value, Phrase | str) else str(value)
    return streams.encodable(one_line(text), sys.stdout)


def _whole(table: Table) -> str:
    """A table whose lines are as long as they are."""
    if _Voice.language != "en":  # tabulate takes an ideograph for one column
        lines = ("  ".join(cells).rstrip() for cells in table.fitted(sys.maxsize))
        return "\n".join(lines)
    from tabulate import tabulate

    headers = list(table.headers)
    align = ["right" if header in table.right else "left" for header in headers] if table.rows else None
    text: str = tabulate(table.rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    return text


def _columns(stream: TextIO) -> int | None:
    """How wide a terminal is; None where the stream is none, and lines are as long as they are."""
    if not stream.isatty():
        return None
    from shutil import get_terminal_size

    return max(get_terminal_size().columns, _NARROWEST)


def _write(text: str, stream: TextIO, indent: int, style: str) -> None:
    columns = _columns(stream)
    if columns is None:
        stream.write(text + "\n")
        return
    from weightsmith.cli.layout import fold

    for part in fold(streams.encodable(text, stream), min(columns, _WIDEST), indent):
        _styled([(part, style)], stream)


def _style(text: str) -> str:
    word = text.lstrip(" ").partition(" ")[0]
    return _STYLES.get(word, "")


def _styled(parts: Sequence[tuple[str, str]], stream: TextIO, gap: int = 2) -> None:
    """One line of a terminal: pieces of text, each in its style, `gap` spaces between them."""
    from rich.text import Text

    text = Text(" " * gap).join(Text(part, style) for part, style in parts)
    text.rstrip()
    _console(stream).print(text, soft_wrap=True)


@lru_cache(maxsize=2)
def _console(stream: TextIO) -> Console:
    """What knows the colours of a terminal, and whether any are wanted (NO_COLOR)."""
    from rich.console import Console

    return Console(file=stream, width=10_000, legacy_windows=False)
