"""The door: the command line. One file for each command; `terminal` alone prints."""

from __future__ import annotations

from weightsmith.cli.main import main

# Taken for true by type checkers. Not even `typing` is imported here: only `main` makes signals end the program well.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from weightsmith.cli.group import commands

__all__ = ["commands", "main"]


def __getattr__(name: str) -> object:
    """`commands`, click's tree of all commands, is imported when it is first used (PEP 562)."""
    if name != "commands":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from weightsmith.cli.group import commands

    return commands
