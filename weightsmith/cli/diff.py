"""`weightsmith diff`: its arguments, its table, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.options import A_PATH, AS_JSON
from weightsmith.cli.terminal import BAD, DONE, line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.values.diff import CheckpointDifference, TensorDifference

# How many tensors and names are listed.
_LISTED = 20


@click.command("diff")
@click.argument("a", type=A_PATH)
@click.argument("b", type=A_PATH)
@AS_JSON
def command(a: Path, b: Path, as_json: bool) -> int:
    """Compare two checkpoints tensor by tensor. Exit code 0: identical or equal, 1: they differ."""
    found = library.diff(a, b, progress=terminal.progress_bar("comparing"))
    if as_json:
        terminal.show_json(found.document())
    else:
        _show(found)
    return BAD if found.verdict == "differs" else DONE


def _show(found: CheckpointDifference) -> None:
    """The tensors that differ, worst first, and the verdict."""
    different = [t for t in found.tensors if t.status != "identical"]
    different.sort(key=lambda t: (t.status != "differs", -(t.max_abs or 0.0), t.name))
    if different:
        _show_tensors(different)
    for side, names in (("A", found.only_in_a), ("B", found.only_in_b)):
        if names:
            line(f"only in {side}: {', '.join(names[:_LISTED])}" + (" …" if len(names) > _LISTED else ""))
    for side, packed in zip("AB", found.packed, strict=True):
        if packed:
            how = (
                "what they stand for is compared"
                if found.undone
                else "codes are compared, as they are stored"
            )
            line(f"{side} holds codes: {packed}; {how}")
    same = len(found.tensors) - len(different)
    line(f"verdict: {found.verdict} ({same} of {len(found.tensors)} common tensors identical)")


def _show_tensors(different: Sequence[TensorDifference]) -> None:
    rows = [
        (
            t.name,
            t.status,
            _figure(t.max_abs),
            t.max_ulp,
            f"{t.mismatched} of {t.elements}",
            _figure(t.cosine),
        )
        for t in different[:_LISTED]
    ]
    terminal.table(rows, ["tensor", "", "max |a-b|", "max ulp", "mismatched", "cosine"])
    if len(different) > _LISTED:
        line(f"and {len(different) - _LISTED} more")
    line()


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
