"""The rooms that one run passes, in the order in which it first enters them.

`python -m benchmarks.walks infer-config CKPT` watches every call of that command. A room is a folder below weightsmith,
or a file that lies there by itself; beside each stand the files of it that were entered, in their order. Children are
not watched: what a room asks of one shows as its call.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import weightsmith

if TYPE_CHECKING:
    from types import FrameType

HOUSE = Path(weightsmith.__file__).resolve().parent


class Walk:
    """Rooms in the order of their first call, each with its files, and how often a call led from one to another."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, None]] = {}
        self.crossings = 0
        self._files: dict[str, tuple[str, str] | None] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        # The bodies of modules and classes run when they are imported: only functions are walked through.
        if event != "call" or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            return
        here = self._place(frame)
        if here is None:
            return
        caller = self._place(frame.f_back) if frame.f_back else None
        self.crossings += caller is not None and caller[0] != here[0]
        self.rooms.setdefault(here[0], {})[here[1]] = None

    def _place(self, frame: FrameType) -> tuple[str, str] | None:
        path = frame.f_code.co_filename
        if path not in self._files:
            self._files[path] = place_of(Path(path))
        return self._files[path]


def place_of(path: Path) -> tuple[str, str] | None:
    """(room, file) of a source file of the house; None for everybody else's."""
    for home, name in ((HOUSE, ""), (HOUSE.parent / "converters", "converters")):
        if path.is_relative_to(home):
            inside = path.relative_to(home)
            return "/".join(part for part in (name, *inside.parts[:-1]) if part) or inside.stem, inside.stem
    return None


def main() -> None:
    walk = Walk()
    commands = importlib.import_module("weightsmith.cli").main
    sys.argv = ["weightsmith", *sys.argv[1:]]
    threading.setprofile(walk)
    sys.setprofile(walk)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            commands()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    for number, (room, files) in enumerate(walk.rooms.items(), 1):
        print(f"{number:2} {room}: {', '.join(files)}")
    print(
        f"{len(walk.rooms)} rooms, {sum(map(len, walk.rooms.values()))} files, {walk.crossings} calls between rooms"
    )


if __name__ == "__main__":
    main()
