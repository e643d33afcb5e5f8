"""Workflow commands of GitHub Actions: annotations at the files that are wrong.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions; how values are escaped says
actions/toolkit, packages/core/src/command.ts. Every line is a command: the runner looks for commands of an older form
(`##[…]`) anywhere in a line that is none (actions/runner, src/Runner.Common/ActionCommand.cs), names of files included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.check.forms.lines import counted, place, sound, told
from weightsmith.foreign_text import visible
from weightsmith.language import spoken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.check import Checked

_IN_MESSAGE = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_IN_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})
_TITLE = "weightsmith check"


def commands(found: Checked) -> Iterator[str]:
    """An annotation for each finding and each sound checkpoint, and one that counts."""
    for one in found.checkpoints:
        for finding in one.findings:
            text = f"{place(finding)}: {spoken(told(finding), 'en')}"
            yield _command(finding.level, text, file=finding.path, line=finding.line)
        if one.verdict == "sound":
            yield _command("notice", f"{one.path}: {spoken(sound(one), 'en')}", file=one.path)
    yield _command("notice", spoken(counted(found), "en"))


def _command(kind: str, message: str, *, file: str | None = None, line: int | None = None) -> str:
    given = {"file": file, "line": line, "title": _TITLE}
    properties = ",".join(
        f"{name}={visible(str(value).translate(_IN_PROPERTY))}"
        for name, value in given.items()
        if value is not None
    )
    return f"::{kind} {properties}::{visible(message).translate(_IN_MESSAGE)}"
