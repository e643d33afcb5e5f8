"""`weightsmith doctor`: its arguments, its table, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import A_PATH, AS_JSON, LANGUAGE, VERBOSE
from weightsmith.cli.progress import stages
from weightsmith.cli.results import REPORT, delivered, need_report
from weightsmith.cli.terminal import BAD, DONE, line
from weightsmith.cli.wording import counted, cut

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.machine import Diagnosis
    from weightsmith.report import Language

_MARKS = {"ok": "✓ ok", "warn": "! warn", "fail": "✗ fail", "absent": "· absent"}
_ORDER = ("fail", "warn", "absent", "ok")
_MAX_FOUND = 60


@click.command(
    "doctor",
    epilog=epilog(
        [
            ("weightsmith doctor", "what is wrong here, and the command that mends it"),
            ("weightsmith doctor --dump facts.json", "all facts, to be pasted into a report"),
            ("weightsmith doctor --compare mine.json theirs.json", "how two machines differ"),
        ],
        ["nothing is wrong", "something is, or the two machines differ", "a file cannot be read"],
        "doctor.md",
    ),
)
@VERBOSE
@AS_JSON
@click.option(
    "--dump", metavar="FILE", type=A_PATH, help="Write all facts to this file, fit to be pasted; - is stdout."
)
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    type=A_PATH,
    help="Say how two such files differ, and read nothing else.",
)
@REPORT
@LANGUAGE
def command(
    verbose: bool,
    as_json: bool,
    dump: Path | None,
    compare: tuple[Path, Path] | None,
    report: Path | None,
    language: Language,
) -> int:
    """What is wrong with this machine's NPU stack, and the command that mends it."""
    if compare is not None:
        if dump is not None or report is not None:
            raise click.UsageError(
                "--compare reads two files, --dump and --report write one: take one of them"
            )
        return _compared(*compare, as_json)
    need_report(report, as_json, other=dump)
    with stages() as tell:
        diagnosis = library.doctor(dump=dump, progress=tell)
    if delivered(diagnosis, as_json, report, language, other=dump):
        _show(diagnosis, verbose=verbose)
    return DONE if diagnosis.healthy else BAD


def _compared(first: Path, second: Path, as_json: bool) -> int:
    """Exit code 1: they differ."""
    found = library.compare_machines(first, second)
    if as_json:
        terminal.show_json(found.document())
    else:
        rows = [(fact, cut(a, _MAX_FOUND), cut(b, _MAX_FOUND)) for fact, a, b in found.differences]
        terminal.table(rows, ["fact", str(first), str(second)])
        line()
        for path, conclusion in zip((first, second), found.conclusions, strict=True):
            line(f"{path}: {conclusion}")
    return BAD if found.differences else DONE


def _show(diagnosis: Diagnosis, *, verbose: bool) -> None:
    """What is not as it should be, each root cause with what follows from it and what mends it; the conclusion last."""
    checks = sorted(diagnosis.checks, key=lambda check: _ORDER.index(check.verdict))
    shown = [check for check in checks if verbose or check.verdict in ("fail", "warn")]
    if shown:
        rows = [
            (c.name, _MARKS[c.verdict], cut(c.found, _MAX_FOUND), cut(c.expected, _MAX_FOUND)) for c in shown
        ]
        terminal.table(rows, ["check", "", "found", "expected"])
        line()
    if not verbose:
        _show_folded("✓", "ok", [c.name for c in checks if c.verdict == "ok"])
        _show_folded("·", "about what is not here", [c.name for c in checks if c.verdict == "absent"])
    following = {check.name: check.follows_from for check in diagnosis.checks if check.follows_from}
    for root in diagnosis.roots:
        line()
        line(f"{root.name}: {root.found}")
        behind = [name for name in following if _origin(name, following) == root.name]
        if behind:
            line(f"  from it follow: {', '.join(behind)}")
        if root.fix:
            line(f"  {root.fix}")
    line()
    line(f"verdict: {diagnosis.conclusion}")


def _show_folded(mark: str, what: str, names: list[str]) -> None:
    if names:
        line(f"{mark} {counted(len(names), 'check is', 'checks are')} {what}: {', '.join(names)}")


def _origin(name: str, following: dict[str, str]) -> str:
    """The root cause that a finding goes back to."""
    while name in following:
        name = following[name]
    return name
