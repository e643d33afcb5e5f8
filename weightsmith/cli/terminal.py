"""The only place that prints: tables for people, one JSON document for scripts, progress on a terminal, exit codes.

All text goes through `one_line`, so that nothing in it acts on the terminal; JSON says the same in escapes. A stream
that cannot encode a sign gets its ASCII spelling. click itself prints help and complaints about usage, to the same
streams.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import select
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from weightsmith.errors import TargetRefused, WeightsmithError
from weightsmith.foreign_text import fitted, shortened, visible, visible_json
from weightsmith.json_value import countable, encode, finite

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import TextIO

    from _typeshed import ReadableBuffer
    from tqdm import tqdm

    from weightsmith.checkpoint import Checkpoint, Problem
    from weightsmith.process.child import Stage

# Exit codes: the verdict is good; the verdict is bad; it could not be done.
DONE, BAD, FAILED = 0, 1, 2

# Characters of a line about an error or a problem, and of a cell: more is cut out of the middle.
LONGEST_LINE = 500
_MAX_CELL = 28

# Our own signs where a stream's encoding lacks them (GBK, Latin-1, ASCII).
_SIGNS = {
    "✓": "+", "✗": "x", "·": "-", "…": "...", "→": "->", "−": "-", "–": "-", "‖": "||",
    "×": "x", "≤": "<=", "≥": ">=", "≠": "!=", "Δ": "delta", "Σ": "sum", "∞": "inf", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
_SPELLED = "weightsmith.spelled"


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """How codecs asks for what cannot be encoded: a sign's spelling, else an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (_SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking)
    return "".join(escaped), error.end


codecs.register_error(_SPELLED, _spelled)


class _Outlet(io.FileIO):
    """A standard stream's descriptor, to which a write never fails: what cannot be written any more is dropped.

    fault: why the stream is incomplete; None also where the reader went away, who has read what they wanted.
    """

    fault: OSError | None = None
    _shut = False

    def write(self, data: ReadableBuffer, /) -> int:
        while not self._shut:
            try:
                written = super().write(data)
            except OSError as error:
                self._shut = True
                self.fault = None if isinstance(error, BrokenPipeError) else error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # whoever started us made it non-blocking
        return len(memoryview(data))


def open_streams() -> None:
    """Makes stdout and stderr streams that cannot fail, see `delivered`. A closed one, and a closed stdin, is nowhere.

    A descriptor that stays closed would be given to the next file that is opened, and what is printed would go there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)


def _stream(descriptor: int, before: TextIO | None) -> TextIO:
    encoding, at_once = "utf-8", descriptor == 2
    if isinstance(before, io.TextIOWrapper):
        encoding, at_once = before.encoding, at_once or before.line_buffering or before.write_through
    outlet = io.BufferedWriter(_Outlet(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(outlet, encoding, errors=_SPELLED, line_buffering=at_once)


def delivered(code: int) -> int:
    """The exit code of a command that would end with `code`: FAILED where its result could not be written."""
    flush()
    if code == FAILED:  # why, has been said
        return code
    outlet = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(outlet, _Outlet) or outlet.fault is None:
        return code
    why = (outlet.fault.strerror or "it failed").lower()
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
    values = {key: (countable if key in of_config else finite)(value) for key, value in document.items()}
    text = visible_json(encode(values))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal that is not UTF-8
        text = encode(values, ascii_only=True)
    sys.stdout.write(text + "\n")


def line(text: str = "") -> None:
    """A line of the result: stdout."""
    sys.stdout.write(visible(text) + "\n")


def say(text: str) -> None:
    """A line beside the result: stderr, so that stdout stays the result alone."""
    sys.stderr.write(one_line(text) + "\n")


def one_line(text: str) -> str:
    """The text as one visible line of at most LONGEST_LINE characters."""
    return shortened(visible(text), LONGEST_LINE)


def fail(error: WeightsmithError) -> None:
    """The one line that says why nothing could be done: file, fact and way out, the longest of them cut."""
    line = "error: {}: {}; {}"
    parts = [visible(part) for part in (error.subject, error.fact, error.way_out)]
    say(line.format(*fitted(parts, LONGEST_LINE - len(line.format("", "", "")))))


def warn(problems: Iterable[Problem]) -> None:
    """Says what is wrong with a checkpoint and did not stop the command."""
    for problem in problems:
        say(f"warning: {problem.message} [{problem.code}]")


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
    """Rows of text in columns that are as wide as their widest cell."""
    from tabulate import tabulate

    shown = [[None if value is None else _encodable(one_line(str(value))) for value in row] for row in rows]
    text = str(tabulate(shown, headers=list(headers), tablefmt="simple", disable_numparse=True))
    sys.stdout.write(text + "\n")


def _encodable(text: str) -> str:
    """The text as stdout will have it: as wide as it will be there."""
    encoding = sys.stdout.encoding or "utf-8"
    return text if text.isascii() else text.encode(encoding, _SPELLED).decode(encoding)


def cell(value: object) -> str:
    """A JSON value as a table has it: numbers to four digits, long text cut off, nothing for None."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else json.dumps(value, ensure_ascii=False, default=str).strip('"')
    return cut(text, _MAX_CELL)


def cut(text: str, longest: int) -> str:
    """The text, or its beginning and an ellipsis when it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def size(count: float) -> str:
    """Bytes as people read them, in powers of 1000 as hubs and disks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def checkpoint_line(checkpoint: Checkpoint, parameters: int | None = None) -> str:
    """Path, files, format, number of tensors and parameters, size and dtypes in one line.

    parameters: of the model, where its tensors do not show them because they are packed.
    """
    files = list(checkpoint.files)
    named = files[0] if len(files) == 1 else f"{len(files)} files"
    count = parameters or checkpoint.parameters
    return (
        f"{checkpoint.path}: {named} ({checkpoint.format}), {len(checkpoint.tensors)} tensors, "
        f"{count:,} parameters, {size(checkpoint.nbytes)}, {', '.join(checkpoint.dtypes())}"
    )


@contextmanager
def stages() -> Iterator[Stage]:
    """A callback for (what is happening, done, total): a line with its time each, with a bar where there is a total.

    On a terminal only; elsewhere it says nothing.
    """
    from tqdm import tqdm

    bar: tqdm[None] | None = None

    def tell(text: str, done: int = 0, total: int = 0, /) -> None:
        nonlocal bar
        text = one_line(text)
        if bar is None or bar.desc != text:
            if bar is not None:
                bar.close()
            layout = "{desc}: {n_fmt}/{total_fmt} |{bar:20}| {elapsed}" if total else "{desc} {elapsed}"
            bar = tqdm(total=total or None, bar_format=layout, disable=None, file=sys.stderr, mininterval=0)
            bar.set_description_str(text)
        bar.update(done - bar.n)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()


def progress_bar(label: str) -> Callable[[int, int], None]:
    """A callback for (bytes done, bytes in all): a bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    bar = tqdm(desc=label, unit="B", unit_scale=True, disable=None, leave=False, file=sys.stderr)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return update
