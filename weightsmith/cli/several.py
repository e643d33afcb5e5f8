"""A command that looks at checkpoints, on one of them or on several: one that cannot be read stops no other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from weightsmith.cli import terminal
from weightsmith.cli.group import attempt
from weightsmith.cli.terminal import FAILED, line
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from weightsmith.checkpoint.place import AnyPlace


R = TypeVar("R")


def each(
    checkpoints: Sequence[AnyPlace],
    look: Callable[[AnyPlace], R],
    show: Callable[[R], None],
    end: Callable[[R], int],
    document: Callable[[R], Mapping[str, object]],
    *,
    as_json: bool,
    of_config: Collection[str] = (),
) -> int:
    """The exit code for one checkpoint, the worst of all for several.

    look: does the work. show: prints its result for people. end: says what else there is to say; the exit code.
    document: of a result. Of several, each has a headline; with as_json their documents are a list, in which an error
    stands for what it stopped.
    """
    if len(checkpoints) == 1:
        found = look(checkpoints[0])
        if as_json:
            terminal.show_json(document(found), of_config)
        else:
            show(found)
        return end(found)
    codes: list[int] = []
    if as_json:
        terminal.show_json_list(_documents(checkpoints, look, end, document, codes), of_config)
    else:
        for number, path in enumerate(checkpoints):
            if number:
                line()
            line(f"==> {path} <==")
            codes.append(_code(attempt(partial(_one, path, look, show, end))))
    return max(codes)


def _one(
    path: AnyPlace, look: Callable[[AnyPlace], R], show: Callable[[R], None], end: Callable[[R], int]
) -> int:
    found = look(path)
    show(found)
    terminal.flush()  # what else is said of it stands below it
    return end(found)


def _documents(
    checkpoints: Sequence[AnyPlace],
    look: Callable[[AnyPlace], R],
    end: Callable[[R], int],
    document: Callable[[R], Mapping[str, object]],
    codes: list[int],
) -> Iterator[Mapping[str, object]]:
    """One document for each; its exit code is added when it has been written."""
    for path in checkpoints:
        found = attempt(partial(look, path))
        yield found.document() if isinstance(found, WeightsmithError) else document(found)
        codes.append(_code(found) if isinstance(found, WeightsmithError) else end(found))


def _code(answer: int | WeightsmithError) -> int:
    """The exit code; an error is said at its place among the results."""
    if not isinstance(answer, WeightsmithError):
        return answer
    terminal.flush()
    terminal.fail(answer)
    return FAILED
