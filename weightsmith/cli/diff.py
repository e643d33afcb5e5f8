"""`weightsmith diff`: its arguments, its table, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import A_PATH, AS_JSON
from weightsmith.cli.progress import progress_bar
from weightsmith.cli.terminal import BAD, DONE, line
from weightsmith.cli.wording import counted, figure, folded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.values.diff import CheckpointDifference, TensorDifference

# How many tensors and names are listed.
_LISTED = 20
_MARKS = {"differs": "✗", "equal": "·", "identical": "✓"}


@click.command(
    "diff",
    epilog=epilog(
        [
            ("weightsmith diff before/ after/", "what a conversion or a training changed"),
            ("weightsmith diff model-int4/ model-bf16/", "a packed checkpoint against what it stands for"),
            ("weightsmith diff a/ b/ --json", "every figure of every tensor"),
        ],
        ["the same numbers", "they differ", "one of them cannot be read"],
        "contract.md",
    ),
)
@click.argument("a", type=A_PATH)
@click.argument("b", type=A_PATH)
@AS_JSON
def command(a: Path, b: Path, as_json: bool) -> int:
    """Compare two checkpoints tensor by tensor."""
    with progress_bar("comparing") as bar:
        found = library.diff(a, b, progress=bar)
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
            _show_alone(side, names)
    for side, packed in zip("AB", found.packed, strict=True):
        if packed:
            stood_for = "what they stand for is compared"
            how = stood_for if found.undone else "codes are compared, as they are stored"
            line(f"{side} holds codes: {packed}; {how}")
    same = len(found.tensors) - len(different)
    line(f"verdict: {found.verdict} ({same:,} of {counted(len(found.tensors), 'common tensor')} identical)")


def _show_alone(side: str, names: Sequence[str]) -> None:
    """Names that differ in their indices alone are one."""
    patterns = [f"{name} ({count})" if count > 1 else name for name, count in folded(names).items()]
    more = f" and {len(patterns) - _LISTED} more" if len(patterns) > _LISTED else ""
    line(f"only in {side}: {', '.join(patterns[:_LISTED])}{more}")


def _show_tensors(different: Sequence[TensorDifference]) -> None:
    rows = [
        (
            t.name,
            f"{_MARKS[t.status]} {t.status}",
            figure(t.max_abs),
            t.max_ulp,
            f"{t.mismatched} of {t.elements}",
            f"{t.cosine:.7g}" if t.cosine is not None else "",
        )
        for t in different[:_LISTED]
    ]
    headers = ["tensor", "", "max |a-b|", "max ulp", "mismatched", "cosine"]
    terminal.table(rows, headers, right=headers[2:])
    if len(different) > _LISTED:
        line(f"and {len(different) - _LISTED} more")
    line()
