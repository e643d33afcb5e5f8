"""`weightsmith inspect`: its arguments, its table, its exit code."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Literal

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import AS_JSON, CHECKPOINTS, VALUES, ValuesAlone
from weightsmith.cli.progress import progress_bar
from weightsmith.cli.several import each
from weightsmith.cli.terminal import BAD, DONE, line
from weightsmith.cli.wording import cell, checkpoint_line, size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.values.anatomy import Layer, Part
    from weightsmith.values.beside import Beside, GenerationSetting
    from weightsmith.values.inspection import Inspection, Quantization
    from weightsmith.values.statistics import Statistics
    from weightsmith.values.value_survey import ValueSurvey


# Rows of a table of layers.
_MOST_ROWS = 24
# Names in one line.
_MOST_NAMES = 12
# Eighths of a line's height; nothing where no number falls.
_BARS = " ▁▂▃▄▅▆▇█"


@click.command(
    "inspect",
    cls=ValuesAlone,
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
        "inspect.md",
    ),
)
@CHECKPOINTS
@VALUES
@click.option(
    "--hashes", is_flag=True, help="Hash what `convert` wrote again, and compare with weightsmith.json."
)
@click.option(
    "--tensors",
    metavar="PATTERN",
    help="List these one by one, as 'model.layers.3.*'; with --values their statistics.",
)
@click.option(
    "--sort",
    type=click.Choice(["file", "size"]),
    default="file",
    show_default=True,
    help="The order of the tensors.",
)
@AS_JSON
def command(
    checkpoints: tuple[AnyPlace, ...],
    values: Literal["full", "sample"] | None,
    hashes: bool,
    tensors: str | None,
    sort: str,
    as_json: bool,
) -> int:
    """Show what is in a checkpoint: tensors, dtypes, sizes, layout, quantization, fusion state, damage.

    Of several checkpoints, one after the other.
    """

    def look(checkpoint: AnyPlace) -> Inspection:
        with progress_bar("reading") as bar:
            found = library.inspect(
                checkpoint,
                values=values,
                hashes=hashes,
                tensors=tensors,
                by_size=sort == "size",
                progress=bar,
            )
        terminal.warn(found.checkpoint.problems, of=str(checkpoint) if len(checkpoints) > 1 else "")
        return found

    return each(
        checkpoints,
        look,
        lambda found: _show(found, alone=tensors is not None),
        lambda found: DONE if found.sound else BAD,
        lambda found: found.document(),
        as_json=as_json,
    )


def _show(found: Inspection, *, alone: bool = False) -> None:
    """The verdicts first, then parts and layers, then the tensors with layers and experts folded.

    alone: only the tensors that were asked for, one by one.
    """
    line(checkpoint_line(found.checkpoint, found.parameters))
    if found.hashes is not None:
        wrong = [f"{file}: {verdict}" for file, verdict in found.hashes if verdict != "same"]
        line(f"hashes: {'; '.join(wrong) or f'all {len(found.hashes)} files are those that were written'}")
    packed = found.quantization
    scheme = "none" if packed is None else f"{packed.method}{_told(packed)} (from the {packed.source})"
    line(f"quantization: {scheme}")
    if found.survey is not None:
        _show_survey(found.survey)
    _show_beside(found.beside)
    line()
    if alone:
        _show_chosen(found)
        return
    _show_parts(found.anatomy.parts)
    _show_layers(found.anatomy.layers)
    rows = _folded(found.chosen)
    terminal.table(rows, ["tensors", "count", "dtype", "shape", "bytes"], right=("count", "bytes"))


def _show_beside(beside: Beside) -> None:
    """Licence, generation settings and code: a line each, and what the code can do below it."""
    if beside.licence is not None:
        line(f"licence: {beside.licence.name} (from {beside.licence.file})")
    if beside.generation:
        shown = ", ".join(f"{one.name} {cell(one.value)}{_instead(one)}" for one in beside.generation)
        line(f"generation: {shown}")
    code = beside.code
    if not (code.files or code.auto_map):
        return
    named = f"; auto_map names {_first(dict.fromkeys(code.auto_map.values()))}" if code.auto_map else ""
    line(f"code: {_first(code.files) or 'none in the folder'}{named}")
    kinds: dict[tuple[str, str], list[str]] = {}
    for call in code.calls:
        kinds.setdefault((call.file, call.kind), []).append(f"{call.name} (line {call.line})")
    for (file, kind), names in kinds.items():
        line(f"  {file} {kind}: {_first(names)}")
    if code.unread:
        line(f"  not read: {_first([f'{file}: {why}' for file, why in code.unread.items()])}")


def _first(names: Collection[str]) -> str:
    """What a screen has room for; the JSON has all."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(list(names)[:_MOST_NAMES]) + more


def _instead(setting: GenerationSetting) -> str:
    from weightsmith.values.settings_diff import ABSENT

    return "" if setting.config == ABSENT else f" (config.json has {cell(setting.config)})"


def _show_parts(parts: Sequence[Part]) -> None:
    total = sum(part.parameters for part in parts) or 1
    rows = [
        (p.name, f"{p.tensors:,}", f"{p.parameters:,}", f"{100 * p.parameters / total:.1f} %", size(p.bytes))
        for p in parts
    ]
    headers = ["part", "tensors", "parameters", "share", "bytes"]
    terminal.table(rows, headers, right=headers[1:])
    line()


def _show_layers(layers: Sequence[Layer]) -> None:
    """One row for layers of the same tensors that follow each other."""
    rows = []
    for (stack, _), run in groupby(layers, key=lambda layer: (layer.stack, layer.kind)):
        members = list(run)
        first, last = members[0], members[-1]
        which = f"{first.index}" if first is last else f"{first.index} to {last.index}"
        rows.append(
            (
                f"{stack}.{which}",
                f"{first.tensors:,}",
                f"{first.parameters:,}",
                size(first.bytes),
                "; ".join(first.odd),
            )
        )
    if rows:
        headers = ["layers", "tensors each", "parameters each", "bytes each", "unlike the others"]
        terminal.table(_fewer(rows), headers, right=headers[1:4], note=True)
        line()


def _fewer(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Of a stack whose kinds take turns, the first rows and how many follow."""
    if len(rows) <= _MOST_ROWS:
        return list(rows)
    return [*rows[:_MOST_ROWS], (f"and {len(rows) - _MOST_ROWS} more rows", "", "", "", "")]


def _show_chosen(found: Inspection) -> None:
    headers = ["tensor", "dtype", "shape", "bytes"]
    rows: list[tuple[str, ...]] = [
        (t.name, t.dtype, " x ".join(map(str, t.shape)), size(t.nbytes)) for t in found.chosen
    ]
    if found.statistics:
        headers += ["mean", "std", "absmax", "zeros", "spread"]
        rows = [(*row, *_figures(found.statistics.get(row[0]))) for row in rows]
    terminal.table(rows, headers, right=headers[3:8])


def _figures(of: Statistics | None) -> tuple[str, ...]:
    """The last is a histogram from four standard deviations below the mean to four above."""
    if of is None:
        return ("", "", "", "", "")
    highest = max(of.histogram)
    bars = "".join(_BARS[-(-count * (len(_BARS) - 1) // highest)] for count in of.histogram)
    total = sum(of.histogram) + of.others
    return (f"{of.mean:.3g}", f"{of.std:.3g}", f"{of.absmax:.3g}", f"{100 * of.zeros / total:.3g} %", bars)


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
    from weightsmith.checkpoint.names import without_indices

    rows: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for tensor in tensors:
        name = without_indices(tensor.name)
        rows.setdefault((name, tensor.dtype, tensor.shape), []).append(tensor.nbytes)
    return [
        (name, len(sizes), dtype, " x ".join(map(str, shape)), size(sum(sizes)))
        for (name, dtype, shape), sizes in rows.items()
    ]
