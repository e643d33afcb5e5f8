"""How the shapes came to their answer: the equations, what each witness knew, what was joined, and what was taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.shapes.page.value import thaw
from weightsmith.shapes.solve.relation import certain, is_stand_in
from weightsmith.shapes.solve.solver import WITNESS as SIZES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.documents import ExplanationEntry, RelationEntry
    from weightsmith.json_value import Json
    from weightsmith.shapes.inference import Inference
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.equations import Fact
    from weightsmith.shapes.solve.fit import Fit
    from weightsmith.shapes.solve.relation import Relation, Row

# The witness of what is set.
SET = "set"
# Rows of a relation that are told one by one.
_ROWS = 20


@dataclass(frozen=True, slots=True)
class ToldEquation:
    """One equation: an axis of a tensor (None: how many there are), its size, and how many tensors attest it."""

    tensor: str
    axis: int | None
    equation: str
    size: int
    tensors: int


@dataclass(frozen=True, slots=True)
class ToldRow:
    """One way in which fields can be together. price: the corrections of the config that it costs, and oddities."""

    values: Mapping[str, Json]
    price: float


@dataclass(frozen=True, slots=True)
class ToldRelation:
    """What fields can be together. count: of all rows, of which the first are told.

    gap: why there may be others. open_fields: why single fields may have other values.
    """

    witness: str
    fields: tuple[str, ...]
    rows: tuple[ToldRow, ...]
    count: int
    gap: str
    open_fields: Mapping[str, str]

    def document(self) -> RelationEntry:
        return {
            "witness": self.witness,
            "fields": self.fields,
            "rows": [{"assignment": dict(row.values), "price": row.price} for row in self.rows],
            "count": self.count,
            "gap": self.gap,
            "open_fields": dict(self.open_fields),
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """alone: what the equations say without a search. said: what each witness knew beside. joined: the same, joined
    where they share a field, the best row first: it was taken. rest: fields that nothing tells, and that keep what is
    stated. predicted: tensors that are as the equations predict. unlike: those that are missing, of nobody, or of
    another shape.
    """

    equations: tuple[ToldEquation, ...]
    alone: Mapping[str, Json]
    said: tuple[ToldRelation, ...]
    joined: tuple[ToldRelation, ...]
    rest: tuple[str, ...]
    predicted: int
    unlike: int

    def document(self) -> ExplanationEntry:
        """The `explanation` of the JSON contract."""
        return {
            "equations": [
                {
                    "tensor": one.tensor,
                    "axis": one.axis,
                    "equation": one.equation,
                    "size": one.size,
                    "tensors": one.tensors,
                }
                for one in self.equations
            ],
            "alone": dict(self.alone),
            "said": [relation.document() for relation in self.said],
            "joined": [relation.document() for relation in self.joined],
            "rest": self.rest,
            "predicted": self.predicted,
            "unlike": self.unlike,
        }


def explained(found: Inference) -> Inference:
    """With what it rests on told; as it is where no family fits."""
    return found if found.fit is None else replace(found, explained=explanation(found.fit))


def explanation(found: Fit) -> Explanation:
    """What a fit rests on."""
    solution = found.solution
    alone = [relation for relation in solution.said if relation.witness == SIZES and len(relation.rows) == 1]
    said = [relation for relation in solution.said if relation not in alone]
    known = certain(solution.said)
    decided = {id(one): one.every for name, one in solution.decided.items() if name not in known}
    joined = list(decided.values())
    unlike = len(found.missing) + len(found.unmatched) + len(found.misfits)
    return Explanation(
        tuple(_equations(solution.facts)),
        {name: _told(value) for relation in alone for name, value in relation.rows[0].values.items()},
        (*_given(found), *(_relation(relation, found) for relation in said)),
        tuple(_relation(relation, found) for relation in joined),
        tuple(name for name in found.page.fields if name not in solution.decided),
        found.matched - len(found.misfits),
        unlike,
    )


def _equations(facts: Iterable[Fact]) -> list[ToldEquation]:
    """Each equation once, those of the most tensors first."""
    found: dict[tuple[str, int], ToldEquation] = {}
    for fact in (fact for fact in facts if fact.polynomial.fields()):
        key, seen = (str(fact.polynomial), fact.size), fact.evidence
        tensors = fact.tensors + (found[key].tensors if key in found else 0)
        first = found[key].tensor if key in found else seen.tensor
        axis = found[key].axis if key in found else seen.axis
        found[key] = ToldEquation(first, axis, str(fact.polynomial), fact.size, tensors)
    return list(found.values())


def _given(found: Fit) -> list[ToldRelation]:
    """What was set beside the file; the numbers and known texts speak through it, too."""
    names = tuple(sorted(found.stated.user_set))
    row = ToldRow({name: _told(found.stated.value(name)) for name in names}, 0.0)
    return [ToldRelation(SET, names, (row,), 1, "", {})] if names else []


def _relation(relation: Relation, found: Fit) -> ToldRelation:
    rows = tuple(_row(row, relation, found) for row in relation.rows[:_ROWS])
    fields = tuple(sorted(relation.fields))
    return ToldRelation(
        relation.witness, fields, rows, len(relation.rows), relation.gap, dict(relation.open_fields)
    )


def _row(row: Row, relation: Relation, found: Fit) -> ToldRow:
    values = {name: _told(row.values[name]) for name in sorted(relation.fields) if name in row.values}
    whole = {**found.solution.values, **row.values}
    return ToldRow(values, round(found.stated.cost(relation.fields, whole) + row.price, 3))


def _told(value: Value) -> Json:
    """The value as JSON has it; a stand-in for others is told in words."""
    if isinstance(value, tuple):
        return list(map(_told, value))
    return str(value) if is_stand_in(value) else thaw(value)
