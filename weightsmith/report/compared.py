"""The report of `diff`: how far two checkpoints are apart, layer by layer and part by part."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import without_indices
from weightsmith.formats import number, percent
from weightsmith.phrases import say
from weightsmith.report.blocks import Column, Grid, Items, Judged, Paragraph, Report, Section, Table
from weightsmith.report.bounds import MOST_BARS, MOST_COLUMNS
from weightsmith.report.facts import fact_table
from weightsmith.report.related import lineage_sentence
from weightsmith.report.shared import checkpoint_rows, closing_sections, origin_line, value_text
from weightsmith.values.anatomy import layer_of, part_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.documents import DiffDocument, TensorDifferenceEntry
    from weightsmith.phrases import Text
    from weightsmith.report.blocks import Block, Cell

_VERDICTS = {
    "identical": Judged("pass", say("identical")),
    "equal": Judged("pass", say("equal")),
    "differs": Judged("fail", say("differs")),
}
# The column of tensors outside all layers.
_OUTSIDE = "–"


def report(document: DiffDocument) -> Report:
    """The whole report."""
    return Report(
        title=say("{a} against {b}", a=document["a"]["path"], b=document["b"]["path"]),
        verdict=_VERDICTS[document["verdict"]],
        summary=tuple(_summary(document)),
        sections=tuple(_sections(document)),
    )


def _summary(document: DiffDocument) -> Iterator[Text]:
    states = [tensor["status"] for tensor in document["tensors"]]
    yield say(
        "Of {count} tensors that both have, {identical} are identical, {equal} have the same values, {differ} differ. "
        "Only in A: {a}, only in B: {b}.",
        count=f"{len(states):,}",
        identical=f"{states.count('identical'):,}",
        equal=f"{states.count('equal'):,}",
        differ=f"{states.count('differs'):,}",
        a=f"{len(document['only_in_a']):,}",
        b=f"{len(document['only_in_b']):,}",
    )
    if "lineage" in document:
        yield lineage_sentence(document["lineage"])
    yield origin_line(document)


def _sections(document: DiffDocument) -> Iterator[Section]:
    different = [tensor for tensor in document["tensors"] if tensor["status"] != "identical"]
    if different:
        yield Section(say("Where they differ"), tuple(_where(document["tensors"])))
    if document["low_rank"]:
        yield Section(say("Differences of low rank"), tuple(_low_rank(document)))
    if different:
        yield Section(say("Tensors that differ"), (_tensors(different),))
    for words, names in (
        (say("Only in A"), document["only_in_a"]),
        (say("Only in B"), document["only_in_b"]),
    ):
        if names:
            yield Section(words, (_alone(names),))
    if document["settings"]:
        yield Section(say("Settings that differ"), (_settings(document),))
    yield Section(say("What was compared"), tuple(_compared(document)))
    yield from closing_sections(document)


def _where(tensors: Sequence[TensorDifferenceEntry]) -> Iterator[Block]:
    yield Paragraph(say("The distance of a tensor is the norm of A − B as a share of the norm of A."))
    yield _picture(tensors)
    parts: dict[str, list[TensorDifferenceEntry]] = defaultdict(list)
    for tensor in tensors:
        parts[part_of(without_indices(tensor["name"]))].append(tensor)
    columns = (
        Column(say("part")),
        Column(say("tensors"), "number"),
        Column(say("differ"), "number"),
        Column(say("largest distance"), "number"),
    )
    yield Table(columns, tuple(_part(name, members) for name, members in parts.items()))


def _part(name: str, members: Sequence[TensorDifferenceEntry]) -> tuple[Cell, ...]:
    differing = [tensor for tensor in members if tensor["status"] == "differs"]
    worst = max((tensor["relative"] or 0.0 for tensor in differing), default=0.0)
    return name, f"{len(members):,}", f"{len(differing):,}", number(worst)


def _picture(tensors: Sequence[TensorDifferenceEntry]) -> Grid:
    """The largest distance in each layer of each part; those outside all layers in a column of their own."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    layers = set[int]()
    for tensor in tensors:
        distance = tensor["relative"] if tensor["status"] == "differs" else 0.0
        if distance is None:  # other shapes, or NaN
            continue
        place = layer_of(tensor["name"])
        part = part_of(without_indices(tensor["name"]))
        row = part if place is None else f"{place.stack}: {part}"
        column = _OUTSIDE if place is None else str(place.index)
        layers |= set() if place is None else {place.index}
        found[row][column] = max(distance, found[row].get(column, 0.0))
    outside = (_OUTSIDE,) if any(_OUTSIDE in values for values in found.values()) else ()
    columns = (*outside, *map(str, sorted(layers)))[:MOST_COLUMNS]
    furthest = set(sorted(found, key=lambda row: -max(found[row].values()))[:MOST_BARS])
    rows = tuple(
        (row, tuple(values.get(column) for column in columns))
        for row, values in found.items()
        if row in furthest
    )
    title = say("Largest relative distance in each layer and part")
    return Grid(title, say("layer ({outside}: outside all layers)", outside=_OUTSIDE), columns, rows)


def _low_rank(document: DiffDocument) -> Iterator[Block]:
    yield Paragraph(say("As a merged LoRA leaves them:"))
    yield Items(
        tuple(
            (
                found["weights"],
                say(
                    "{count} differences, rank {rank} ({probed} looked at)",
                    count=f"{found['tensors']:,}",
                    rank=found["rank"],
                    probed=found["probed"],
                ),
            )
            for found in document["low_rank"]
        )
    )


def _tensors(different: Sequence[TensorDifferenceEntry]) -> Table:
    """The worst first; a mismatch of shapes, or of NaN, before all numbers."""
    columns = (
        Column(say("tensor")),
        Column(say("verdict")),
        Column(say("distance"), "number"),
        Column(say("largest |a − b|"), "number"),
        Column(say("largest ulp"), "number"),
        Column(say("unequal"), "number"),
        Column(say("cosine"), "number"),
        Column(say("shapes")),
    )
    ordered = sorted(
        different,
        key=lambda t: (
            t["status"] != "differs",
            t["relative"] is not None,
            -(t["relative"] or 0.0),
            t["name"],
        ),
    )
    return Table(columns, tuple(map(_tensor, ordered)))


def _tensor(tensor: TensorDifferenceEntry) -> tuple[Cell, ...]:
    mismatched = tensor["mismatched"]
    shapes = " / ".join(" × ".join(map(str, shape)) for shape in tensor.get("shapes", ()))
    return (
        tensor["name"],
        _VERDICTS[tensor["status"]],
        number(tensor["relative"]),
        number(tensor["max_abs"]),
        number(tensor["max_ulp"]),
        "" if mismatched is None else percent(mismatched / max(tensor["elements"], 1)),
        number(tensor["cosine"]),
        shapes,
    )


def _alone(names: Sequence[str]) -> Table:
    return Table((Column(say("tensor")),), tuple((name,) for name in names))


def _settings(document: DiffDocument) -> Table:
    columns = (
        Column(say("file")),
        Column(say("setting")),
        Column("A", "long"),
        Column("B", "long"),
    )
    rows = tuple(
        (one["file"], one["name"], value_text(one["a"]), value_text(one["b"])) for one in document["settings"]
    )
    return Table(columns, rows)


def _compared(document: DiffDocument) -> Iterator[Block]:
    for words, summary in ((say("A:"), document["a"]), (say("B:"), document["b"])):
        yield Paragraph(words, strong=True)
        yield fact_table(checkpoint_rows(summary))
    packed = document.get("packed")
    if packed is not None:
        for side, how in (("A", packed["a"]), ("B", packed["b"])):
            if how is not None:
                yield Paragraph(
                    say("{side} holds codes ({how}); what they stand for was compared.", side=side, how=how)
                )
