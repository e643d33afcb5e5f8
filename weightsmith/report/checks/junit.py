"""JUnit's XML, which every CI system reads: a suite for each checkpoint, a test case for each check.

As Jenkins has it (jenkinsci/xunit-plugin, types/model/xsd/junit-10.xsd). A check that passed says in its output what
was found, and its warnings, too.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from weightsmith.foreign_text import visible
from weightsmith.report.checks.lines import place, told
from weightsmith.report.markup import element

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.check import Check, Checked, CheckedCheckpoint

# What is no character of XML, beside those that are made visible anywhere.
_NO_XML = re.compile("[\ufffe\uffff]")


def document(found: Checked) -> str:
    """The whole file."""
    suites = "\n".join(map(_suite, found.checkpoints))
    checks = [check for one in found.checkpoints for check in one.checks]
    counts = _counts(checks)
    counts.pop("skipped")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        + element("testsuites", f"\n{suites}\n", name="weightsmith check", **counts)
        + "\n"
    )


def _suite(one: CheckedCheckpoint) -> str:
    cases = "\n".join(_case(check, one) for check in one.checks)
    return element("testsuite", f"\n{cases}\n", name=_text(one.path), **_counts(one.checks))


def _case(check: Check, one: CheckedCheckpoint) -> str:
    """What is wrong is told line by line in the text of the one failure, as CI systems show one."""
    said = "\n".join(
        f"{finding.level}: {_text(f'{place(finding)}: {told(finding)}')}" for finding in check.findings
    )
    first = check.findings[0] if check.findings else None
    if check.verdict == "skip":
        inside = element("skipped", message=_text(check.says))
    elif check.verdict == "pass" or first is None:
        inside = element("system-out", html.escape("\n".join(filter(None, (_text(check.says), said)))))
    else:
        tag = "failure" if check.verdict == "fail" else "error"
        summary = told(first) if len(check.findings) == 1 else check.says
        inside = element(tag, html.escape(said), message=_text(summary), type=first.rule)
    return element("testcase", inside, classname=_text(one.path), name=check.name)


def _counts(checks: Iterable[Check]) -> dict[str, str]:
    verdicts = [check.verdict for check in checks]
    return {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count("fail")),
        "errors": str(verdicts.count("unreadable")),
        "skipped": str(verdicts.count("skip")),
    }


def _text(foreign: str) -> str:
    """Any text as characters that XML has, on one line; what is markup in it, is escaped where it is put."""
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", visible(foreign))
