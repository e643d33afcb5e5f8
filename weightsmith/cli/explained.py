"""The screen of `infer-config --explain`: from the equations to what was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.cli.terminal import line, table
from weightsmith.cli.wording import cell, counted
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.phrases import Text
    from weightsmith.shapes.explanation import Explanation, ToldRelation

# Equations and rows that are shown without -v.
_EQUATIONS, _ROWS = 12, 5
_WITNESSES = {
    "sizes": say("sizes of axes"),
    "presence": say("tensors that are there or not"),
    "lists": say("tensors of each layer"),
    "shapes": say("which of several shapes tensors have"),
    "ratios": say("fractions that are rounded"),
    "rules": say("rules of the class"),
    "forward check": say("forward check"),
    "set": say("what is set, or told by the numbers"),
}


def show_explanation(told: Explanation | None, *, verbose: bool) -> None:
    """The steps in their order, each with a heading; nothing where nobody asked."""
    if told is None:
        return
    line(say("1. The equations of these tensors"))
    _show_equations(told, verbose=verbose)
    alone = ", ".join(f"{name} {cell(value)}" for name, value in told.alone.items())
    line(say("   they say alone: {fields}", fields=alone or say("nothing")))
    line()
    line(say("2. What each witness knows beside that"))
    _show_relations(told.said, verbose=verbose)
    line()
    line(say("3. Joined where they share a field, what is best first: it is taken"))
    _show_relations(told.joined, verbose=verbose)
    if told.rest:
        words = "   no equation of these weights has {fields}: as stated, else the class default"
        line(say(words, fields=", ".join(told.rest)))
    line()
    line(say("4. Put into the equations again"))
    words = "   {count} tensors as predicted, {others} not"
    line(say(words, count=f"{told.predicted:,}", others=f"{told.unlike:,}"))
    line()


def _show_equations(told: Explanation, *, verbose: bool) -> None:
    shown = told.equations if verbose else told.equations[:_EQUATIONS]
    headers: list[Text] = [say("equation"), say("size"), say("tensors"), say("first of them")]
    rows = []
    for one in shown:
        where = (
            one.tensor if one.axis is None else say("{tensor} axis {axis}", tensor=one.tensor, axis=one.axis)
        )
        rows.append((one.equation, one.size, one.tensors, where))
    table(rows, headers, right=headers[1:3], note=True)
    left = len(told.equations) - len(shown)
    if left:
        line(say("… and {equations} (-v lists them)", equations=counted(left, "equation")))


def _show_relations(told: Sequence[ToldRelation], *, verbose: bool) -> None:
    """Those that decide their fields in a line for each witness, then the others."""
    settled: dict[str, list[str]] = {}
    for relation in told:
        if _is_settled(relation):
            settled.setdefault(relation.witness, []).append(_values(relation))
    for witness, values in settled.items():
        line(say("   {witness}: {fields}", witness=_who(witness), fields=", ".join(values)))
    for relation in told:
        if not _is_settled(relation):
            _show_relation(relation, verbose=verbose)
    if not told:
        line(say("   {fields}", fields=say("nothing")))


def _is_settled(relation: ToldRelation) -> bool:
    return relation.count == 1 and not relation.gap and not relation.open_fields


def _values(relation: ToldRelation) -> str:
    """The one row that there is; the fields alone where it leaves them free."""
    told = ", ".join(f"{name} {cell(value)}" for name, value in relation.rows[0].values.items())
    return told or ", ".join(relation.fields)


def _who(witness: str) -> Text:
    """The witnesses of a relation in words."""
    names = [_WITNESSES.get(name, name) for name in witness.split(" + ")]
    said: Text = names[0]
    for name in names[1:]:
        said = say("{first}, {second}", first=said, second=name)
    return said


def _show_relation(relation: ToldRelation, *, verbose: bool) -> None:
    """A witness, its fields, and the first of its rows; of one row no table is made."""
    said = _who(relation.witness)
    if relation.count == 1:
        line(say("   {witness}: {fields}", witness=said, fields=_values(relation)))
    else:
        line(say("   {witness}: {rows}", witness=said, rows=counted(relation.count, "row")))
        shown = relation.rows if verbose else relation.rows[:_ROWS]
        headers: list[Text] = [*relation.fields, say("price")]
        cells = [[*(cell(row.values.get(f)) for f in relation.fields), f"{row.price:g}"] for row in shown]
        table(cells, headers, right=headers)
    if relation.gap:
        line(say("   there may be others: {why}", why=Sentence(relation.gap)))
    for name, why in relation.open_fields.items():
        line(say("   {field} may be something else: {why}", field=name, why=Sentence(why)))
