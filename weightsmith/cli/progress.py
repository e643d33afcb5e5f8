"""What is happening and how far it is, on a terminal; nothing anywhere else."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from weightsmith.cli.terminal import one_line, told
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import Progress, ProgressColumn, Task, TaskID
    from rich.progress_bar import ProgressBar

    from weightsmith.phrases import Text
    from weightsmith.process.child import Stage


@contextmanager
def stages() -> Iterator[Stage]:
    """A callback for (what is happening, done, total): a line with its time each, with a bar where there is a total.

    A stage that is over stays on the screen with the time that it took.
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    with _live(_of_stages(), transient=False) as live:
        yield _Stages(live).tell


def _nothing(_text: str, _done: int = 0, _total: int = 0, /) -> None:
    pass


class _Stages:
    """One task of the live display for each stage, the last of which is running."""

    def __init__(self, live: Progress) -> None:
        self._live = live
        self._text = ""
        self._task: TaskID | None = None

    def tell(self, text: str, done: int = 0, total: int = 0, /) -> None:
        # A single word is one of ours here, and no name.
        text = one_line(told(say(text) if text.isalpha() else Sentence(text)))
        if self._task is None or text != self._text:
            self._end()
            self._text, self._task = text, self._live.add_task(text, total=total or None, count="")
        count = f"{done}/{total}" if total else ""
        self._live.update(self._task, completed=done, total=total or None, count=count)

    def _end(self) -> None:
        if self._task is not None:
            task = self._live.tasks[self._task]
            self._live.update(self._task, total=task.total or 1, completed=task.total or 1)
            self._live.stop_task(self._task)


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
