"""Fields that decide which of several shapes a tensor has, though not whether it exists: what they could be.

Presence says nothing about them, so every value is tried against the shapes. A per-layer list
(`layer_types[layer]`) is tried by kinds of layers: layers whose tensors have equal shapes are of one kind.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from weightsmith.shapes.page.condition_uses import Reading, readings
from weightsmith.shapes.page.value import LONGEST_LIST, is_number
from weightsmith.shapes.solve.budget import BUDGET
from weightsmith.shapes.solve.candidate_values import OTHER, distinct, domain, kinds
from weightsmith.shapes.solve.relation import Relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.given.roles import Role
    from weightsmith.shapes.page.value import Value

WITNESS = "shapes"


def variant_choices(
    roles: Sequence[Role],
    decided: frozenset[str],
    counted: Mapping[str, Value],
    stated: Stated,
) -> Iterator[Relation]:
    """Every value to try of each field that only shapes can decide.

    decided: fields that are known or that presence decides. counted: what a loader would take.
    """
    several, asked = _asked(roles)
    for field in sorted(set(asked) & set(stated.page.fields) - decided):
        reading, page_field = asked[field], stated.page.fields[field]
        if page_field.expression is not None and reading == Reading(optional=True):
            continue  # null stands for the computed default, which is a value like any other
        assumed = counted.get(field)
        if not reading.listed:
            numbers = [v for v in counted.values() if is_number(v)]
            values = domain(field, stated.page, reading, (), assumed, numbers if reading.counted else ())
            if page_field.expression is not None:
                values = [v for v in values if v is not None]
            whole = OTHER not in values and not any(map(is_number, values))
            why = "" if whole else "a number or word stands for others"
        else:
            values, why = _lists(field, several, reading, counted, stated)
        yield replace(Relation.column(WITNESS, field, values), open_fields={field: why} if why else {})


def fields_of_shapes(roles: Sequence[Role]) -> frozenset[str]:
    """List fields that decide about the shape of some tensor that is there."""
    _, asked = _asked(roles)
    return frozenset(field for field, reading in asked.items() if reading.listed)


def _asked(roles: Sequence[Role]) -> tuple[list[Role], dict[str, Reading]]:
    """The roles that are there and could have several shapes, and what the conditions of these ask of each field."""
    several = [role for role in roles if role.tensors and len(role.pattern.variants) > 1]
    return several, readings(v.condition for role in several for v in role.pattern.variants if v.condition)


def _lists(
    field: str, roles: Sequence[Role], reading: Reading, counted: Mapping[str, Value], stated: Stated
) -> tuple[list[Value], str]:
    """(every list that gives layers of equal shapes one kind, the stated one and the default before them; why there
    are others)"""
    shapes: dict[int, set[tuple[str, tuple[int, ...]]]] = {}
    for role in roles:
        read = {n for v in role.pattern.variants if v.condition for n in v.condition.names}
        place = next((i for i, slot in enumerate(role.pattern.slots) if slot.name in read), None)
        if field not in read or place is None:
            continue
        for indices, tensor in role.tensors.items():
            shapes.setdefault(indices[place], set()).add((role.pattern.text, tensor.shape))
    declared = stated.page.lists.get(field)
    length = declared.at(counted) if declared else None
    length = max(shapes, default=-1) + 1 if length is None else length
    signatures = {at: frozenset(shapes[at]) for at in sorted(shapes)}
    groups = list(dict.fromkeys(signatures.values()))
    assumed = counted.get(field)
    options = kinds(field, stated.page, reading, assumed)
    # A list whose length no count declares may be longer than there are layers.
    spare = assumed[length:] if declared is None and isinstance(assumed, tuple) else ()
    whole = isinstance(assumed, tuple) and len(assumed) == length + len(spare)
    first = [assumed] if whole or (reading.members and isinstance(assumed, tuple)) else []
    if len(options) ** len(groups) > BUDGET.kinds or length > LONGEST_LIST:
        return first or [assumed], f"more than {BUDGET.kinds} ways to give kinds to layers"
    fill = options[0] if options else None
    lists: list[Value] = []
    for way in product(options, repeat=len(groups)):
        kind = dict(zip(groups, way, strict=True))
        if reading.members and not reading.indexed:  # a list of layer ids
            lists.append(tuple(at for at, signature in signatures.items() if kind[signature]))
            continue
        items = (kind[signatures[at]] if at in signatures else fill for at in range(length))
        lists.append((*items, *spare))
    counts = declared is not None and set(signatures) == set(range(length))
    return distinct([*first, *lists]), "" if counts else "no tensor tells how long it is"
