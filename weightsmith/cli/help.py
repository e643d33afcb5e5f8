"""What stands at the end of each command's help: examples, exit codes, and where to read more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.guide import guide

if TYPE_CHECKING:
    from collections.abc import Sequence


def epilog(examples: Sequence[tuple[str, str]], exits: Sequence[str], page: str) -> str:
    r"""Paragraphs that click prints as they are (\b).

    examples: (command line, what it does). exits: what the codes 0, 1 and 2 mean. page: of docs/.
    """
    lines = ["\b", "Examples:"]
    for command, purpose in examples:
        lines += [f"  # {purpose}", f"  {command}"]
    lines += ["", "\b", "Exit code:"]
    lines += [f"  {code}  {meaning}" for code, meaning in enumerate(exits)]
    return "\n".join([*lines, "", "\b", f"More: {guide(page)}"])
