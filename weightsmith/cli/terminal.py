"""The only place that prints: tables for people, one JSON document for scripts, progress on a terminal, exit codes.

click itself prints help and complaints about usage.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from weightsmith.json_value import countable, encode, finite

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from tqdm import tqdm

    from weightsmith.checkpoint import Checkpoint, Problem
    from weightsmith.process.child import Stage

# Exit codes: the verdict is good; the verdict is bad; it could not be done.
DONE, BAD, FAILED = 0, 1, 2

_MAX_CELL = 28


def show_json(document: Mapping[str, object], of_config: Collection[str] = ()) -> None:
    """Exactly one JSON document on stdout. NaN and infinity, which JSON lacks, become null.

    of_config: top-level keys under which values of a config stand. Infinity is one of these (Mamba's
    `time_step_limit`) and a config must stay what it is: it is written as 1e999 there.
    """
    values = {key: (countable if key in of_config else finite)(value) for key, value in document.items()}
    text = encode(values)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a path that is not UTF-8, or a terminal that is not
        text = encode(values, ascii_only=True)
    line(text)


def line(text: str = "") -> None:
    """A line of the result: stdout."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """A line beside the result: stderr, so that stdout stays the result alone."""
    sys.stderr.write(text + "\n")


def warn(problems: Iterable[Problem]) -> None:
    """Says what is wrong with a checkpoint and did not stop the command."""
    for problem in problems:
        say(f"warning: {problem.message} [{problem.code}]")


def flush() -> None:
    """Sends what is still buffered. Raises BrokenPipeError when the reader has gone away."""
    sys.stdout.flush()


def discard_output() -> None:
    """Sends stdout nowhere from now on: Python would complain at its end that it cannot flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
    """Rows of text in columns that are as wide as their widest cell."""
    from tabulate import tabulate

    line(str(tabulate(list(rows), headers=headers, tablefmt="simple", disable_numparse=True)))


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


def checkpoint_line(checkpoint: Checkpoint) -> str:
    """Path, files, format, number of tensors and parameters, size and dtypes in one line."""
    files = list(checkpoint.files)
    named = files[0] if len(files) == 1 else f"{len(files)} files"
    return (
        f"{checkpoint.path}: {named} ({checkpoint.format}), {len(checkpoint.tensors)} tensors, "
        f"{checkpoint.parameters:,} parameters, {size(checkpoint.nbytes)}, {', '.join(checkpoint.dtypes())}"
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
