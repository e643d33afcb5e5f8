"""JUnit's XML, which every CI system reads: a suite for each checkpoint, a test case for each check.

As Jenkins has it (jenkinsci/xunit-plugin, types/model/xsd/junit-10.xsd). A check that passed says in its output what
was found, and its warnings, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from weightsmith.check.forms.lines import place, told
from weightsmith.foreign_text import visible
from weightsmith.language import spoken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.check import Check, Checked

# What is no character of XML, beside those that are made visible anywhere.
_NO_XML = re.compile("[\ufffe\uffff]")


def document(found: Checked) -> str:
    """The whole file, in UTF-8."""
    counts = _counts(check for one in found.checkpoints for check in one.checks)
    del counts["skipped"]  # Jenkins' schema has it of a suite alone
    root = ElementTree.Element("testsuites", {"name": "weightsmith check", **counts})
    for one in found.checkpoints:
        path = _text(one.path)
        suite = ElementTree.SubElement(root, "testsuite", {"name": path, **_counts(one.checks)})
        for check in one.checks:
            _fill(ElementTree.SubElement(suite, "testcase", classname=path, name=check.name), check)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _fill(case: ElementTree.Element, check: Check) -> None:
    """What is wrong is told line by line in the text of the one failure, as CI systems show one."""
    said = [
        _text(f"{finding.level}: {place(finding)}: {spoken(told(finding), 'en')}")
        for finding in check.findings
    ]
    first = check.findings[0] if check.findings else None
    if check.verdict == "skip":
        ElementTree.SubElement(case, "skipped", message=_text(check.says))
    elif check.verdict == "pass" or first is None:
        ElementTree.SubElement(case, "system-out").text = "\n".join([_text(check.says), *said])
    else:
        tag = "failure" if check.verdict == "fail" else "error"
        summary = spoken(told(first), "en") if len(check.findings) == 1 else check.says
        ElementTree.SubElement(case, tag, message=_text(summary), type=first.rule).text = "\n".join(said)


def _counts(checks: Iterable[Check]) -> dict[str, str]:
    verdicts = [check.verdict for check in checks]
    return {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count("fail")),
        "errors": str(verdicts.count("unreadable")),
        "skipped": str(verdicts.count("skip")),
    }


def _text(foreign: str) -> str:
    """Any text as characters that XML has, on one line."""
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", visible(foreign))
