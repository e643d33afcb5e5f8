"""`weightsmith diff`: its arguments, its table, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import A_PLACE, AS_JSON, LANGUAGE
from weightsmith.cli.progress import progress_bar
from weightsmith.cli.results import REPORT, delivered, need_report
from weightsmith.cli.terminal import BAD, DONE, line
from weightsmith.cli.wording import cell, counted, figure, folded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.report import Language
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
        "diff.md",
    ),
)
@click.argument("a", type=A_PLACE)
@click.argument("b", type=A_PLACE)
@REPORT
@LANGUAGE
@AS_JSON
def command(a: AnyPlace, b: AnyPlace, report: Path | None, language: Language, as_json: bool) -> int:
    """Compare two checkpoints tensor by tensor."""
    need_report(report, as_json, a, b)
    with progress_bar("comparing") as bar:
        found = library.diff(a, b, progress=bar)
    if delivered(found, as_json, report, language):
        _show(found)
    return BAD if found.verdict == "differs" else DONE


def _show(found: CheckpointDifference) -> None:
    """The tensors that differ, worst first, what of the model they are, and the verdict."""
    different = [t for t in found.tensors if t.status != "identical"]
    different.sort(key=lambda t: (t.status != "differs", -(t.relative or 0.0), -(t.max_abs or 0.0), t.name))
    if different:
        _show_tensors(different)
        _show_parts(found.tensors)
    for low in found.low_rank:
        line(
            f"{low.weights}: {counted(low.tensors, 'difference')} of rank {low.rank}, as a merged LoRA leaves them"
        )
    for side, names in (("A", found.only_in_a), ("B", found.only_in_b)):
        if names:
            _show_alone(side, names)
    for side, packed in zip("AB", found.packed, strict=True):
        if packed:
            stood_for = "what they stand for is compared"
            how = stood_for if found.undone else "codes are compared, as they are stored"
            line(f"{side} holds codes: {packed}; {how}")
    for setting in found.settings:
        line(f"{setting.file}: {setting.name} is {cell(setting.a)} in A, {cell(setting.b)} in B")
    same = len(found.tensors) - len(different)
    line(f"verdict: {found.verdict} ({same:,} of {counted(len(found.tensors), 'common tensor')} identical)")


def _show_parts(tensors: Sequence[TensorDifference]) -> None:
    """By part of the model: how many of its tensors differ, and how far the worst is off."""
    from weightsmith.checkpoint.names import without_indices
    from weightsmith.values.anatomy import part_of

    parts: dict[str, list[TensorDifference]] = {}
    for tensor in tensors:
        parts.setdefault(part_of(without_indices(tensor.name)), []).append(tensor)
    rows = []
    for part, members in parts.items():
        differing = [t for t in members if t.status == "differs"]
        worst = max((t.relative or 0.0 for t in differing), default=0.0)
        rows.append((part, f"{len(differing)} of {len(members)}", figure(worst)))
    terminal.table(rows, ["part", "differ", "largest |a-b|/|a|"], right=("differ", "largest |a-b|/|a|"))
    line()


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
            figure(t.relative),
            figure(t.max_abs),
            t.max_ulp,
            "" if t.mismatched is None else f"{t.mismatched / max(t.elements, 1):.1%}",
            _shapes(t),
        )
        for t in different[:_LISTED]
    ]
    headers = ["tensor", "", "|a-b|/|a|", "max |a-b|", "max ulp", "unequal", "shapes"]
    terminal.table(rows, headers, right=headers[2:6], note=True)
    if len(different) > _LISTED:
        line(f"and {len(different) - _LISTED:,} more")
    line()


def _shapes(tensor: TensorDifference) -> str:
    """Beside each other where they differ; what else differs, where they do not."""
    if tensor.shapes is None:
        return tensor.detail
    return " in A, ".join(" x ".join(map(str, shape)) for shape in tensor.shapes) + " in B"
