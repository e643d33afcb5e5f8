"""SARIF 2.1.0, which code scanning of GitHub, GitLab and Azure reads.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. A sound checkpoint is a notification of the run and no
result: code scanning makes an alert of every result, those that passed included.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from weightsmith.check.forms.lines import counted, sound
from weightsmith.check.forms.rules import description
from weightsmith.foreign_text import visible
from weightsmith.language import spoken
from weightsmith.version import __version__

if TYPE_CHECKING:
    from weightsmith.check import Checked, CheckedCheckpoint, Finding
    from weightsmith.json_value import JsonObject

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# Halves of surrogate pairs that stand for no byte of a file's name.
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def document(found: Checked) -> JsonObject:
    """The log: one run, a rule for each kind of finding in it, a result for each finding."""
    rules = list(dict.fromkeys(finding.rule for one in found.checkpoints for finding in one.findings))
    driver: JsonObject = {"name": "weightsmith", "version": __version__, "rules": list(map(_rule, rules))}
    sound_ones = [_notification(one) for one in found.checkpoints if one.verdict == "sound"]
    note: JsonObject = {"level": "note", "message": {"text": spoken(counted(found), "en")}}
    invocation: JsonObject = {
        "executionSuccessful": found.verdict != "unreadable",
        "toolExecutionNotifications": [*sound_ones, note],
    }
    results = [
        _result(finding, rules.index(finding.rule)) for one in found.checkpoints for finding in one.findings
    ]
    run: JsonObject = {"tool": {"driver": driver}, "invocations": [invocation], "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: str) -> JsonObject:
    text = {"text": description(rule)}
    return {"id": rule, "shortDescription": text, "fullDescription": text, "help": text}


def _result(finding: Finding, index: int) -> JsonObject:
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": visible(finding.message)},
        "locations": [_location(finding.path, finding.line)],
    }


def _notification(one: CheckedCheckpoint) -> JsonObject:
    said = f"{visible(one.path)}: {spoken(sound(one), 'en')}"
    return {"level": "note", "message": {"text": said}, "locations": [_location(one.path, None)]}


def _location(path: str, line: int | None) -> JsonObject:
    region = {} if line is None else {"region": {"startLine": line}}
    return {"physicalLocation": {"artifactLocation": _artifact(path), **region}}


def _artifact(path: str) -> JsonObject:
    """A path as a URI: relative ones begin at the root of the sources."""
    uri = quote(_NO_BYTE.sub("\ufffd", path).encode("utf-8", "surrogateescape"), safe="/")
    return {"uri": f"file://{uri}"} if uri.startswith("/") else {"uri": uri, "uriBaseId": "%SRCROOT%"}
