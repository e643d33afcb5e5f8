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
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.machine import Diagnosis
    from weightsmith.phrases import Phrase
    from weightsmith.report import Language

_STATES = {"ok": say("✓ ok"), "warn": say("! warn"), "fail": say("✗ fail"), "absent": say("· absent")}
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
        terminal.table(rows, [say("fact"), str(first), str(second)])
        line()
        for path, conclusion in zip((first, second), found.conclusions, strict=True):
            line(say("{path}: {conclusion}", path=path, conclusion=Sentence(conclusion)))
    return BAD if found.differences else DONE


def _show(diagnosis: Diagnosis, *, verbose: bool) -> None:
    """What is not as it should be, each root cause with what follows from it and what mends it; the conclusion last."""
    checks = sorted(diagnosis.checks, key=lambda check: _ORDER.index(check.verdict))
    shown = [check for check in checks if verbose or check.verdict in ("fail", "warn")]
    if shown:
        rows = [(c.name, _STATES[c.verdict], _short(c.found), _short(c.expected)) for c in shown]
        terminal.table(rows, [say("check"), "", say("found"), say("expected")])
        line()
    if not verbose:
        fine = [c.name for c in checks if c.verdict == "ok"]
        absent = [c.name for c in checks if c.verdict == "absent"]
        if fine:
            line(say("✓ {checks} ok: {names}", checks=_checks(fine), names=", ".join(fine)))
        if absent:
            words = "· {checks} about what is not here: {names}"
            line(say(words, checks=_checks(absent), names=", ".join(absent)))
    following = {check.name: check.follows_from for check in diagnosis.checks if check.follows_from}
    for root in diagnosis.roots:
        line()
        line(say("{name}: {found}", name=root.name, found=Sentence(root.found)))
        behind = [name for name in following if _origin(name, following) == root.name]
        if behind:
            line(say("  from it follow: {names}", names=", ".join(behind)))
        if root.fix:
            line(say("  {fix}", fix=Sentence(root.fix)))
    line()
    line(say("verdict: {verdict}", verdict=Sentence(diagnosis.conclusion)))


def _checks(names: list[str]) -> Phrase:
    return counted(len(names), "check is", "checks are")


def _short(found: str) -> str:
    """As much of it as a table has room for, in the language of the screen."""
    return cut(terminal.told(Sentence(found)), _MAX_FOUND)


def _origin(name: str, following: dict[str, str]) -> str:
    """The root cause that a finding goes back to."""
    while name in following:
        name = following[name]
    return name
