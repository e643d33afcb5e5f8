"""What is happening and how far it is, on a terminal; nothing anywhere else."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from weightsmith.cli import stage_times
from weightsmith.cli.terminal import one_line, told
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.progress import Progress, ProgressColumn, Task, TaskID
    from rich.progress_bar import ProgressBar

    from weightsmith.phrases import Text
    from weightsmith.process.child import Stage


@contextmanager
def stages(of: str = "") -> Iterator[Stage]:
    """A callback for (what is happening, done, total): a line with its time each, with a bar where there is a total.

    A stage that is over stays on the screen with the time that it took. of: what is done, and to what: beside a stage
    that runs stands how long it took the last time that the same was done; nothing for "".
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    before = stage_times.last(of) if of else {}
    with _live(_of_stages(), transient=False) as live:
        shown = _Stages(live, before)
        yield shown.tell
        shown.end()
    if of:
        stage_times.keep(of, shown.took)


def _nothing(_text: str, _done: int = 0, _total: int = 0, /) -> None:
    pass


class _Stages:
    """One task of the live display for each stage, the last of which is running."""

    def __init__(self, live: Progress, before: Mapping[str, float]) -> None:
        self._live = live
        self._before = before
        self._text = ""
        self._task: TaskID | None = None
        self.took: dict[str, float] = {}

    def tell(self, text: str, done: int = 0, total: int = 0, /) -> None:
        if self._task is None or text != self._text:
            self.end()
            # A single word is one of ours here, and no name.
            words = one_line(told(say(text) if text.isalpha() else Sentence(text)))
            before = self._before.get(text)
            expected = "" if before is None else told(say("last time {time}", time=_clock(before)))
            self._text = text
            self._task = self._live.add_task(words, total=total or None, count="", expected=expected)
        count = f"{done}/{total}" if total else ""
        self._live.update(self._task, completed=done, total=total or None, count=count)

    def end(self) -> None:
        """The running stage is over; the time that a stage took is the sum, where it came more than once."""
        if self._task is not None:
            task = self._live.tasks[self._task]
            self._live.update(self._task, total=task.total or 1, completed=task.total or 1, expected="")
            self._live.stop_task(self._task)
            self.took[self._text] = round(self.took.get(self._text, 0.0) + (task.elapsed or 0.0), 1)
            self._task = None


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def progress_bar(label: Text) -> Iterator[Callable[[int, int], None]]:
    """A callback for (bytes done, bytes in all): a bar that goes away at the end."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    words = told(label)
    columns = (TextColumn(words), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with _live(columns, transient=True) as live:
        task = live.add_task(words, total=1)
        yield lambda done, total: live.update(task, completed=done, total=total)


def _of_stages() -> tuple[ProgressColumn, ...]:
    """What it is, a bar where there is a total, how long it has taken."""
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

    class Bar(BarColumn):
        """No bar that runs to and fro where nobody knows how far it is."""

        def render(self, task: Task) -> ProgressBar:
            drawn = super().render(task)
            drawn.width = 20 if task.fields["count"] else 0
            return drawn

    return (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}", markup=False),
        Bar(),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[expected]}", markup=False, style="dim"),
    )


def _live(columns: Sequence[ProgressColumn], *, transient: bool) -> Progress:
    from rich.console import Console
    from rich.progress import Progress as Live

    console = Console(file=sys.stderr, legacy_windows=False)
    # What others print goes where it would go without us.
    return Live(
        *columns,
        console=console,
        transient=transient,
        refresh_per_second=3,
        redirect_stdout=False,
        redirect_stderr=False,
    )
