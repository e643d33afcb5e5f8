"""A line for each finding, one for each sound checkpoint, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.foreign_text import visible
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.check import Checked, CheckedCheckpoint, Finding
    from weightsmith.check.result import Verdict
    from weightsmith.phrases import Phrase, Text

_MARKS = {"error": "✗", "warning": "!"}
_VERDICTS: dict[Verdict, Phrase] = {
    "sound": say("sound"),
    "unsound": say("not sound"),
    "unreadable": say("not readable"),
}


def lines(found: Checked) -> Iterator[Phrase]:
    """What is wrong comes before what is sound, checkpoint by checkpoint; the last line counts."""
    for one in found.checkpoints:
        for finding in one.findings:
            mark = _MARKS[finding.level]
            yield say("{mark} {place}: {what}", mark=mark, place=place(finding), what=told(finding))
        if one.verdict == "sound":
            yield say("✓ {path}: {what}", path=visible(one.path), what=sound(one))
    yield say("verdict: {verdict}", verdict=counted(found))


def place(finding: Finding) -> str:
    """The file, and the line in it where there is one."""
    line = "" if finding.line is None else f":{finding.line}"
    return f"{visible(finding.path)}{line}"


def told(finding: Finding) -> Phrase:
    """What is wrong, and of which kind that is."""
    return say("{message} [{rule}]", message=Sentence(visible(finding.message)), rule=finding.rule)


def sound(checkpoint: CheckedCheckpoint) -> Phrase:
    """What was read of a sound checkpoint, and which checks it passed."""
    passed = [check for check in checkpoint.checks if check.verdict == "pass"]
    names = ", ".join(check.name for check in passed)
    read = [check.says for check in passed if check.name == "files" and not check.findings]
    if not read:
        return say("sound: {names}", names=names)
    return say("{read}; sound: {names}", read=Sentence(visible("; ".join(read))), names=names)


def counted(found: Checked) -> Text:
    """How many checkpoints there are of each verdict."""
    total = len(found.checkpoints)
    if total <= 1:
        return _VERDICTS[found.verdict] if total else say("nothing to check")
    told, *others = [one for verdict in _VERDICTS for one in _number(found.count(verdict), verdict)]
    for more in others:
        told = say("{told}, {more}", told=told, more=more)
    return say("{total} checked: {counts}", total=f"{total:,}", counts=told)


def _number(count: int, verdict: Verdict) -> Iterator[Phrase]:
    """So many of them; nothing where there are none."""
    if count:
        yield say(
            "{count} sound"
            if verdict == "sound"
            else "{count} not sound"
            if verdict == "unsound"
            else "{count} not readable",
            count=f"{count:,}",
        )
