"""`weightsmith inspect`: its arguments, its table, its exit code."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Literal

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import AS_JSON, CHECKPOINTS, SCREEN_LANGUAGE, VALUES, ValuesAlone
from weightsmith.cli.progress import progress_bar
from weightsmith.cli.several import each
from weightsmith.cli.terminal import BAD, DONE, line
from weightsmith.cli.wording import cell, checkpoint_line, run_lines, size
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.phrases import Phrase, Text
    from weightsmith.values.anatomy import Layer, Part
    from weightsmith.values.beside import Beside, Code, GenerationSetting
    from weightsmith.values.inspection import Inspection, Quantization
    from weightsmith.values.statistics import Statistics
    from weightsmith.values.value_survey import ValueSurvey


_STATES = {
    "fused": say("fused"),
    "latent": say("latent"),
    "packed": say("packed"),
    "mixed": say("mixed"),
    "none": say("none"),
}
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
@SCREEN_LANGUAGE
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
        with progress_bar(say("reading")) as bar:
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
    for told in run_lines(found.checkpoint):
        line(told)
    if found.hashes is not None:
        wrong = "; ".join(f"{file}: {verdict}" for file, verdict in found.hashes if verdict != "same")
        same = say("all {count} files are those that were written", count=len(found.hashes))
        line(say("hashes: {found}", found=Sentence(wrong) if wrong else same))
    line(say("quantization: {scheme}", scheme=_scheme(found.quantization)))
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
    headers = [say("tensor"), say("count"), say("dtype"), say("shape"), say("bytes")]
    terminal.table(rows, headers, right=[headers[1], headers[4]])


def _show_beside(beside: Beside) -> None:
    """Licence, generation settings and code: a line each, and what the code can do below it."""
    if beside.licence is not None:
        line(say("licence: {name} (from {file})", name=beside.licence.name, file=beside.licence.file))
    if beside.generation:
        line(say("generation: {settings}", settings=_listed(map(_setting, beside.generation))))
    if beside.code.files or beside.code.auto_map:
        _show_code(beside.code)


def _show_code(code: Code) -> None:
    files = _first(code.files) if code.files else say("none in the folder")
    named = _first(dict.fromkeys(code.auto_map.values()))
    line(
        say(
            "code: {files}; auto_map names {named}" if code.auto_map else "code: {files}",
            files=files,
            named=named,
        )
    )
    kinds: dict[tuple[str, str], list[Text]] = {}
    for call in code.calls:
        kinds.setdefault((call.file, call.kind), []).append(
            say("{name} (line {line})", name=call.name, line=call.line)
        )
    for (file, kind), names in kinds.items():
        line(say("  {file} {kind}: {names}", file=file, kind=Sentence(kind), names=_first(names)))
    if code.unread:
        unread = [say("{file}: {why}", file=file, why=Sentence(why)) for file, why in code.unread.items()]
        line(say("  not read: {files}", files=_first(unread)))


def _first(names: Collection[Text]) -> Text:
    """What a screen has room for; the JSON has all."""
    shown = _listed(list(names)[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return say("{names} and {count} more", names=shown, count=more) if more > 0 else shown


def _listed(names: Iterable[Text]) -> Text:
    """One after the other, with commas between them."""
    first, *others = [*names] or [""]
    for other in others:
        first = say("{names}, {name}", names=first, name=other)
    return first


def _setting(setting: GenerationSetting) -> Text:
    from weightsmith.values.settings_diff import ABSENT

    said = f"{setting.name} {cell(setting.value)}"
    if setting.config == ABSENT:
        return said
    return say("{setting} (config.json has {value})", setting=said, value=cell(setting.config))


def _show_parts(parts: Sequence[Part]) -> None:
    total = sum(part.parameters for part in parts) or 1
    rows = [
        (p.name, f"{p.tensors:,}", f"{p.parameters:,}", f"{100 * p.parameters / total:.1f} %", size(p.bytes))
        for p in parts
    ]
    headers = [say("part"), say("tensors"), say("parameters"), say("share"), say("bytes")]
    terminal.table(rows, headers, right=headers[1:])
    line()


def _show_layers(layers: Sequence[Layer]) -> None:
    """One row for layers of the same tensors that follow each other."""
    rows: list[tuple[Text, ...]] = []
    for (stack, _), run in groupby(layers, key=lambda layer: (layer.stack, layer.kind)):
        members = list(run)
        first, last = members[0], members[-1]
        words = "{stack}.{first}" if first is last else "{stack}.{first} to {last}"
        rows.append(
            (
                say(words, stack=stack, first=first.index, last=last.index),
                f"{first.tensors:,}",
                f"{first.parameters:,}",
                size(first.bytes),
                Sentence("; ".join(first.odd)),
            )
        )
    if rows:
        headers = [
            say("layers"),
            say("tensors each"),
            say("parameters each"),
            say("bytes each"),
            say("unlike the others"),
        ]
        terminal.table(_fewer(rows), headers, right=headers[1:4], note=True)
        line()


def _fewer(rows: Sequence[tuple[Text, ...]]) -> list[tuple[Text, ...]]:
    """Of a stack whose kinds take turns, the first rows and how many follow."""
    if len(rows) <= _MOST_ROWS:
        return list(rows)
    more = say("and {count} more rows", count=len(rows) - _MOST_ROWS)
    return [*rows[:_MOST_ROWS], (more, "", "", "", "")]


def _show_chosen(found: Inspection) -> None:
    headers = [say("tensor"), say("dtype"), say("shape"), say("bytes")]
    rows: list[tuple[str, ...]] = [
        (t.name, t.dtype, " x ".join(map(str, t.shape)), size(t.nbytes)) for t in found.chosen
    ]
    if found.statistics:
        headers += [say("mean"), say("std"), say("absmax"), say("zeros"), say("spread")]
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


def _scheme(packed: Quantization | None) -> Phrase:
    """Bits, groups and zero points of a scheme, as far as the tensors tell them."""
    if packed is None:
        return say("none")
    told: Text = packed.method
    if packed.bits is not None:
        groups = {-1: say("one scale a row"), 0: say("one scale a weight")}
        group = groups.get(packed.group_size or 0, say("groups of {size}", size=packed.group_size))
        told = say("{method}, {bits} bits, {group}", method=told, bits=packed.bits, group=group)
        if packed.symmetric is not None:
            told = say(
                "{scheme}, symmetric" if packed.symmetric else "{scheme}, with zero points", scheme=told
            )
    source = "{scheme} (from the config)" if packed.source == "config" else "{scheme} (from the tensors)"
    return say(source, scheme=told)


def _show_survey(survey: ValueSurvey) -> None:
    fusion = survey.fusion
    state: Text = _STATES[fusion.state]
    if fusion.group_size is not None:
        words = "{state}, one scale per row" if fusion.group_size == -1 else "{state}, groups of {size}"
        state = say(words, state=state, size=fusion.group_size)
    words = "ternary fusion: {state} ({count} linear weights checked)"
    line(say(words, state=state, count=fusion.tensors_checked))
    for sentence in fusion.evidence:
        line(say("  {sentence}", sentence=Sentence(sentence)))
    for fault in survey.damage:
        line(say("damage: {tensor}: {what}", tensor=fault.tensor, what=Sentence(fault.what)))
    if not survey.damage:
        sampled = "damage: none found in the sampled rows"
        line(say(sampled if survey.sampled else "damage: none found"))


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
