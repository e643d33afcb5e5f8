"""Takes what an earlier run found, so that a few cases can be run again and the whole table still be written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.faults.case import CleanResult, Finding, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.faults.case import Clean, Fault


def read(
    path: Path, faults: Iterable[Fault], clean: Iterable[Clean]
) -> tuple[list[Result], list[CleanResult]]:
    """The results of a `--json` document whose cases still exist under the same name and model."""
    data = json.loads(path.read_text(encoding="utf-8"))
    by_fault = {(row["name"], row["model"]): row for row in data["faults"]}
    by_case = {row["name"]: row for row in data["clean"]}
    results = [
        Result(fault, _outcome(row["alone"]), _maybe(row["with_baseline"]), row["seconds"])
        for fault in faults
        if (row := by_fault.get((fault.name, fault.model)))
    ]
    cleans = [
        CleanResult(case, tuple(Finding(**alarm) for alarm in row["alarms"]), row["seconds"])
        for case in clean
        if (row := by_case.get(case.name))
    ]
    return results, cleans


def merged(
    faults: Sequence[Fault], clean: Sequence[Clean], *runs: tuple[list[Result], list[CleanResult]]
) -> tuple[list[Result], list[CleanResult]]:
    """Every case once, in the order of the catalogue, the last run's word counting."""
    results = {(r.fault.name, r.fault.model): r for run, _ in runs for r in run}
    cleans = {r.case.name: r for _, run in runs for r in run}
    return (
        [results[key] for fault in faults if (key := (fault.name, fault.model)) in results],
        [cleans[case.name] for case in clean if case.name in cleans],
    )


def _maybe(data: dict[str, Any] | None) -> Outcome | None:
    return None if data is None else _outcome(data)


def _outcome(data: dict[str, Any]) -> Outcome:
    caught = data["caught"]
    return Outcome(
        None if caught is None else Finding(**caught), tuple(Finding(**f) for f in data["noticed"])
    )
