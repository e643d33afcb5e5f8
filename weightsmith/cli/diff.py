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
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.phrases import Text
    from weightsmith.report import Language
    from weightsmith.values.diff import CheckpointDifference, TensorDifference

# How many tensors and names are listed.
_LISTED = 20
_STATES = {"differs": say("✗ differs"), "equal": say("· equal"), "identical": say("✓ identical")}
_VERDICTS = {"differs": say("differs"), "equal": say("equal"), "identical": say("identical")}


@click.command(
    "diff",
    epilog=epilog(
        [
            ("weightsmith diff before/ after/", "what a conversion or a training changed"),
            ("weightsmith diff model-int4/ model-bf16/", "a packed checkpoint against what it stands for"),
            ("weightsmith diff a/ b/ --lineage", "whether one descends from the other, and how"),
        ],
        ["the same numbers", "they differ", "one of them cannot be read"],
        "diff.md",
    ),
)
@click.argument("a", type=A_PLACE)
@click.argument("b", type=A_PLACE)
@click.option(
    "--lineage",
    is_flag=True,
    help="Tell what they are to each other: trained further, quantized, unrelated, …",
)
@REPORT
@LANGUAGE
@AS_JSON
def command(
    a: AnyPlace, b: AnyPlace, lineage: bool, report: Path | None, language: Language, as_json: bool
) -> int:
    """Compare two checkpoints tensor by tensor."""
    need_report(report, as_json, a, b)
    with progress_bar(say("comparing")) as bar:
        found = library.diff(a, b, lineage=lineage, progress=bar)
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
        words = "{weights}: {differences} of rank {rank}, as a merged LoRA leaves them"
        line(say(words, weights=low.weights, differences=counted(low.tensors, "difference"), rank=low.rank))
    for side, names in (("A", found.only_in_a), ("B", found.only_in_b)):
        if names:
            _show_alone(side, names)
    for side, packed in zip("AB", found.packed, strict=True):
        if packed:
            words = "{side} holds codes: {packed}; codes are compared, as they are stored"
            if found.undone:
                words = "{side} holds codes: {packed}; what they stand for is compared"
            line(say(words, side=side, packed=Sentence(packed)))
    for setting in found.settings:
        a, b = cell(setting.a), cell(setting.b)
        line(say("{file}: {name} is {a} in A, {b} in B", file=setting.file, name=setting.name, a=a, b=b))
    if found.lineage is not None:
        from weightsmith.report.related import lineage_sentence  # `--help` does without reports

        line(lineage_sentence(found.lineage.document()))
    same = len(found.tensors) - len(different)
    common = counted(len(found.tensors), "common tensor")
    words = "verdict: {verdict} ({same} of {common} identical)"
    line(say(words, verdict=_VERDICTS[found.verdict], same=f"{same:,}", common=common))


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
        share = say("{count} of {total}", count=len(differing), total=len(members))
        rows.append((part, share, figure(worst)))
    headers = [say("part"), say("differ"), say("largest |a-b|/|a|")]
    terminal.table(rows, headers, right=headers[1:])
    line()


def _show_alone(side: str, names: Sequence[str]) -> None:
    """Names that differ in their indices alone are one."""
    patterns = [f"{name} ({count})" if count > 1 else name for name, count in folded(names).items()]
    more = len(patterns) - _LISTED
    words = "only in {side}: {names} and {more} more" if more > 0 else "only in {side}: {names}"
    line(say(words, side=side, names=", ".join(patterns[:_LISTED]), more=more))


def _show_tensors(different: Sequence[TensorDifference]) -> None:
    rows = [
        (
            t.name,
            _STATES[t.status],
            figure(t.relative),
            figure(t.max_abs),
            t.max_ulp,
            "" if t.mismatched is None else f"{t.mismatched / max(t.elements, 1):.1%}",
            _shapes(t),
        )
        for t in different[:_LISTED]
    ]
    figures = [say("|a-b|/|a|"), say("max |a-b|"), say("max ulp"), say("unequal")]
    headers: list[Text] = [say("tensor"), "", *figures, say("shapes")]
    terminal.table(rows, headers, right=figures, note=True)
    if len(different) > _LISTED:
        line(say("and {count} more", count=f"{len(different) - _LISTED:,}"))
    line()


def _shapes(tensor: TensorDifference) -> Text:
    """Beside each other where they differ; what else differs, where they do not."""
    if tensor.shapes is None:
        return Sentence(tensor.detail)
    a, b = (" x ".join(map(str, shape)) for shape in tensor.shapes)
    return say("{a} in A, {b} in B", a=a, b=b)
