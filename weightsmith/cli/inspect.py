"""`weightsmith inspect`: its arguments, its table, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import AS_JSON, CHECKPOINT
from weightsmith.cli.progress import progress_bar
from weightsmith.cli.terminal import BAD, DONE, line
from weightsmith.cli.wording import checkpoint_line, size, without_indices

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from weightsmith.checkpoint import Tensor
    from weightsmith.values.inspection import Inspection, Quantization
    from weightsmith.values.value_survey import ValueSurvey


class _ValuesAlone(click.Command):
    """Reads `--values` without a value as `--values=full`; click would take the argument behind it for one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--values=full" if arg == "--values" else arg for arg in args])


@click.command(
    "inspect",
    cls=_ValuesAlone,
    epilog=epilog(
        [
            ("weightsmith inspect model/", "tensors, dtypes and sizes, from the headers alone"),
            ("weightsmith inspect model/ --values", "read every number: damage, ternary fusion"),
            ("weightsmith inspect converted/ --hashes", "is it still what `convert` wrote?"),
        ],
        [
            "nothing that was asked for is bad",
            "damage, an index that disagrees, weights that are not what a card claims, a changed file",
            "CKPT cannot be read",
        ],
        "contract.md",
    ),
)
@CHECKPOINT
@click.option(
    "--values",
    metavar="[=full|sample]",
    type=click.Choice(["full", "sample"]),
    help="Read every number, or a sample of each tensor: fusion state, group size, damage.",
)
@click.option(
    "--hashes", is_flag=True, help="Hash what `convert` wrote again, and compare with weightsmith.json."
)
@AS_JSON
def command(checkpoint: Path, values: Literal["full", "sample"] | None, hashes: bool, as_json: bool) -> int:
    """Show what is in a checkpoint: tensors, dtypes, sizes, layout, quantization, fusion state, damage."""
    with progress_bar("reading") as bar:
        found = library.inspect(checkpoint, values=values, hashes=hashes, progress=bar)
    terminal.warn(found.checkpoint.problems)
    if as_json:
        terminal.show_json(found.document())
    else:
        _show(found)
    return DONE if found.sound else BAD


def _show(found: Inspection) -> None:
    """The verdicts first, then the tensors with layers and experts folded."""
    line(checkpoint_line(found.checkpoint, found.parameters))
    if found.hashes is not None:
        wrong = [f"{file}: {verdict}" for file, verdict in found.hashes if verdict != "same"]
        line(f"hashes: {'; '.join(wrong) or f'all {len(found.hashes)} files are those that were written'}")
    packed = found.quantization
    scheme = "none" if packed is None else f"{packed.method}{_told(packed)} (from the {packed.source})"
    line(f"quantization: {scheme}")
    if found.survey is not None:
        _show_survey(found.survey)
    line()
    terminal.table(
        _folded(found.checkpoint.tensors.values()),
        ["tensors", "count", "dtype", "shape", "bytes"],
        right=("count", "bytes"),
    )


def _told(packed: Quantization) -> str:
    """Bits, groups and zero points of a scheme, as far as the tensors tell them."""
    if packed.bits is None:
        return ""
    groups = {-1: "one scale a row", 0: "one scale a weight"}
    group = groups.get(packed.group_size or 0, f"groups of {packed.group_size}")
    zeros = {True: ", symmetric", False: ", with zero points", None: ""}[packed.symmetric]
    return f", {packed.bits} bits, {group}{zeros}"


def _show_survey(survey: ValueSurvey) -> None:
    fusion = survey.fusion
    group = {None: "", -1: ", one scale per row"}.get(fusion.group_size, f", groups of {fusion.group_size}")
    line(f"ternary fusion: {fusion.state}{group} ({fusion.tensors_checked} linear weights checked)")
    for sentence in fusion.evidence:
        line(f"  {sentence}")
    for fault in survey.damage:
        line(f"damage: {fault.tensor}: {fault.what}")
    if not survey.damage:
        line("damage: none found" + (" in the sampled rows" if survey.sampled else ""))


def _folded(tensors: Iterable[Tensor]) -> list[tuple[str, int, str, str, str]]:
    """One row for all tensors that differ in their indices alone."""
    rows: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for tensor in tensors:
        name = without_indices(tensor.name)
        rows.setdefault((name, tensor.dtype, tensor.shape), []).append(tensor.nbytes)
    return [
        (name, len(sizes), dtype, " x ".join(map(str, shape)), size(sum(sizes)))
        for (name, dtype, shape), sizes in rows.items()
    ]
