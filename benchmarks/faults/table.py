"""The faults and what became of them, as tables for people and as one document for scripts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.faults.case import CleanResult, Finding, Outcome, Result

_WIDTH = 110


def results_table(results: Sequence[Result]) -> str:
    """Markdown: one row per fault."""
    rows = [
        (
            r.fault.name,
            r.fault.model,
            f"`{r.caught.command}`" if r.caught else "none",
            r.caught.witness if r.caught else "",
            _alone(r),
            _line(_told(r)),
        )
        for r in results
    ]
    headers = ("fault", "model", "caught by", "witness", "without a baseline", "message")
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _alone(result: Result) -> str:
    """What the files and the engine show by themselves."""
    if result.alone.caught is not None:
        return result.alone.caught.how
    said = "noticed, not named" if result.alone.noticed else "nothing"
    if result.needs_baseline:
        return f"{said}: needs a baseline"
    return f"{said}: harmless" if result.fault.unseen else f"{said}: **missed**"


def _told(result: Result) -> str:
    if result.caught is not None:
        return result.caught.message
    if result.fault.unseen:
        return result.fault.unseen
    noticed = result.alone.noticed or (result.with_baseline.noticed if result.with_baseline else ())
    return noticed[0].message if noticed else "every command was content"


def clean_table(results: Sequence[CleanResult]) -> str:
    rows = [(r.case.name, _line("; ".join(map(_alarm, r.alarms))) if r.alarms else "passes") for r in results]
    return str(tabulate(rows, ("sound model", "every command"), tablefmt="github"))


def _alarm(finding: Finding) -> str:
    return f"**false alarm**: {finding.command} ({finding.how}): {finding.message}"


def totals(results: Sequence[Result], clean: Sequence[CleanResult]) -> str:
    """By family and witness, and the two figures that count."""
    families = list(dict.fromkeys(r.fault.family for r in results))
    witnesses = ("reader", "shapes", "values", "behaviour")
    rows = []
    for family in [*families, "all"]:
        own = [r for r in results if family in {"all", r.fault.family}]
        by = Counter(r.caught.witness for r in own if r.caught)
        needing = sum(r.needs_baseline for r in own)
        missed = sum(r.caught is None for r in own)
        rows.append((family, len(own), *(by[w] for w in witnesses), needing, missed))
    headers = ("family", "faults", *witnesses, "of these with a baseline only", "missed")
    return f"{tabulate(rows, headers, tablefmt='github')}\n\n{_sentence(results, clean)}"


def _sentence(results: Sequence[Result], clean: Sequence[CleanResult]) -> str:
    caught = sum(r.caught is not None for r in results)
    harmless = sum(r.caught is None and bool(r.fault.unseen) for r in results)
    felt = len(results) - harmless
    alone = sum(r.alone.caught is not None for r in results)
    expected = sum(r.as_expected for r in results)
    quiet = sum(r.caught is not None and r.caught.how.startswith("exit 0") for r in results)
    words = []
    if results:
        share = f" ({caught / felt:.1%})" if felt else ""
        words.append(
            f"{caught} of {felt} faults caught{share}, {alone} of them without "
            f"a baseline; {quiet} are said in the document of a command that exits 0. "
            f"{harmless} more change nothing that a model says, and are not counted. "
            f"{expected} went as their case expects: command, witness and need of a baseline."
        )
    if clean:
        alarms = sum(bool(r.alarms) for r in clean)
        words.append(f"{alarms} of {len(clean)} sound models raise a false alarm.")
    return " ".join(words)


def document(results: Sequence[Result], clean: Sequence[CleanResult], seconds: float) -> dict[str, Any]:
    """Everything, for scripts."""
    return {
        "benchmark": "faults",
        "faults": [
            {
                "name": r.fault.name,
                "family": r.fault.family,
                "model": r.fault.model,
                "caught": r.caught is not None,
                "needs_baseline": r.needs_baseline,
                "as_expected": r.as_expected,
                "alone": _outcome(r.alone),
                "with_baseline": None if r.with_baseline is None else _outcome(r.with_baseline),
                "unseen": r.fault.unseen,
                "seconds": round(r.seconds, 1),
            }
            for r in results
        ],
        "clean": [
            {"name": r.case.name, "alarms": [_finding(f) for f in r.alarms], "seconds": round(r.seconds, 1)}
            for r in clean
        ],
        "caught": sum(r.caught is not None for r in results),
        "false_alarms": sum(bool(r.alarms) for r in clean),
        "seconds": round(seconds, 1),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "caught": None if outcome.caught is None else _finding(outcome.caught),
        "noticed": [_finding(f) for f in outcome.noticed],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "command": finding.command,
        "witness": finding.witness,
        "how": finding.how,
        "message": finding.message,
    }


def _line(words: str) -> str:
    """One cell: one line, no column marks, cut where nobody reads on."""
    flat = " ".join(words.replace("|", "/").split())
    return flat if len(flat) <= _WIDTH else flat[: _WIDTH - 1] + "…"
