"""A line for each finding, one for each sound checkpoint, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.foreign_text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.check import Checked, CheckedCheckpoint, Finding
    from weightsmith.check.result import Verdict

_MARKS = {"error": "✗", "warning": "!"}


def lines(found: Checked) -> Iterator[str]:
    """What is wrong comes before what is sound, checkpoint by checkpoint; the last line counts."""
    for one in found.checkpoints:
        for finding in one.findings:
            yield f"{_MARKS[finding.level]} {place(finding)}: {told(finding)}"
        if one.verdict == "sound":
            yield f"✓ {visible(one.path)}: {sound(one)}"
    yield f"verdict: {counted(found)}"


def place(finding: Finding) -> str:
    """The file, and the line in it where there is one."""
    line = "" if finding.line is None else f":{finding.line}"
    return f"{visible(finding.path)}{line}"


def told(finding: Finding) -> str:
    """What is wrong, and of which kind that is."""
    return f"{visible(finding.message)} [{finding.rule}]"


def sound(checkpoint: CheckedCheckpoint) -> str:
    """What was read of a sound checkpoint, and which checks it passed."""
    passed = [check for check in checkpoint.checks if check.verdict == "pass"]
    names = ", ".join(check.name for check in passed)
    read = [check.says for check in passed if check.name == "files" and not check.findings]
    return visible("; ".join([*read, f"sound: {names}"]))


def counted(found: Checked) -> str:
    """How many checkpoints there are of each verdict."""
    total = len(found.checkpoints)
    words: dict[Verdict, str] = {"sound": "sound", "unsound": "not sound", "unreadable": "not readable"}
    if total <= 1:
        return words[found.verdict] if total else "nothing to check"
    counts = {word: found.count(verdict) for verdict, word in words.items()}
    return f"{total:,} checked: {', '.join(f'{count:,} {word}' for word, count in counts.items() if count)}"
