"""`weightsmith doctor`: its arguments, its table, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.options import AS_JSON
from weightsmith.cli.terminal import BAD, DONE, cut, line

if TYPE_CHECKING:
    from weightsmith.machine import Diagnosis

_MARKS = {"ok": "✓ ok", "warn": "! warn", "fail": "✗ fail", "absent": "· absent"}
_MAX_FOUND = 60


@click.command("doctor")
@AS_JSON
def command(as_json: bool) -> int:
    """What is wrong with this machine's NPU stack, and the command that mends it. Exit code 1: something is."""
    with terminal.stages() as tell:
        diagnosis = library.doctor(progress=tell)
    if as_json:
        terminal.show_json(diagnosis.document())
    else:
        _show(diagnosis)
    return DONE if diagnosis.healthy else BAD


def _show(diagnosis: Diagnosis) -> None:
    """One row per question, then what to do, in the order in which the layers stand on each other."""
    rows = [
        (c.name, _MARKS[c.verdict], cut(c.found, _MAX_FOUND), cut(c.expected, _MAX_FOUND))
        for c in diagnosis.checks
    ]
    terminal.table(rows, ["check", "", "found", "expected"])
    mended = [check for check in diagnosis.checks if check.fix]
    if mended:
        line()
    for check in mended:
        line(f"{check.name}: {check.fix}")
