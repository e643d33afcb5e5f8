"""What a witness knows of some fields: a table of the ways in which they can be together.

Equations give such tables, and so do tensors that are there or not, lists and rules. Tables that share a field are
joined as a database joins them; the row that costs least is taken; and a field is certain where a closed table has one
value for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.solve.candidate_values import OTHER, distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set

    from weightsmith.shapes.page.value import Value

T = TypeVar("T")
# The gap of a relation that no row explains, and that has the nearest one instead.
NEAREST = "nothing explains all tensors; this comes nearest"


@dataclass(frozen=True, slots=True)
class Row:
    """One way. A field of the relation that it leaves out is free: it goes with every value of it.

    price: what it costs beside the corrections of the config.
    """

    values: Mapping[str, Value]
    price: float = 0.0


@dataclass(frozen=True, slots=True)
class Relation:
    """What fields can be together, by the word of one witness or of several joined.

    gap: why there may be other rows than these; empty where there are none. open_fields: fields that may have other
    values all the same, and why, such as a number that stands for all larger ones.
    """

    witness: str
    fields: frozenset[str]
    rows: tuple[Row, ...]
    gap: str = ""
    open_fields: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(witness: str, values: Mapping[str, Value], gap: str = "") -> Relation:
        """One row: that is how they are."""
        return Relation(witness, frozenset(values), (Row(values),), gap)

    @staticmethod
    def column(witness: str, name: str, values: Iterable[Value], gap: str = "") -> Relation:
        """One field, and the values that it can have."""
        return Relation(witness, frozenset({name}), tuple(Row({name: value}) for value in values), gap)

    @property
    def closed(self) -> bool:
        """Whether there are no other rows."""
        return not self.gap

    @property
    def contradictory(self) -> bool:
        """Whether nothing can be: no row, and no other either."""
        return self.closed and not self.rows

    def values(self, name: str) -> tuple[Value, ...]:
        """The values of a field in the rows, in their order."""
        return tuple(distinct(row.values[name] for row in self.rows if name in row.values))

    def told(self, name: str) -> tuple[Value, ...]:
        """All values that a field can have; none where there may be others, or one is a stand-in for others."""
        everywhere = all(name in row.values for row in self.rows)
        if self.gap or name in self.open_fields or not everywhere:
            return ()
        values = self.values(name)
        return () if any(map(is_stand_in, values)) else values

    def agreed(self) -> dict[str, Value]:
        """The fields that have one value in all rows, whether or not there may be other rows."""
        columns = {name: self.values(name) for name in sorted(self.fields)}
        return {
            name: values[0]
            for name, values in columns.items()
            if len(values) == 1 and all(name in row.values for row in self.rows)
        }

    def select(self, keep: Callable[[Mapping[str, Value]], bool], by: str) -> Relation:
        """The rows whose values are kept, by the word of another witness where that rules some out."""
        rows = tuple(row for row in self.rows if keep(row.values))
        return (
            self
            if len(rows) == len(self.rows)
            else replace(self, witness=f"{self.witness} + {by}", rows=rows)
        )

    def project(self, fields: Set[str]) -> Relation:
        """These fields alone. Of rows that are alike then, the first counts."""
        rows: dict[Hashable, Row] = {}
        for row in self.rows:
            values = {name: value for name, value in row.values.items() if name in fields}
            rows.setdefault(_key(values, sorted(fields)), Row(values, row.price))
        return replace(
            self,
            fields=self.fields & fields,
            rows=tuple(rows.values()),
            open_fields={name: why for name, why in self.open_fields.items() if name in fields},
        )

    def given(self, known: Mapping[str, Value]) -> Relation:
        """What is left of the rows once some fields are known.

        A number that stands for all beyond it goes with each of them; whether with this one, the forward check says.
        """
        fields = self.fields - set(known)

        def agrees(values: Mapping[str, Value]) -> bool:
            return all(
                known[name] == value
                or (name in self.open_fields and is_number(value) and is_number(known[name]))
                for name, value in values.items()
                if name in known
            )

        rows = (
            Row({name: value for name, value in row.values.items() if name in fields}, row.price)
            for row in self.rows
            if agrees(row.values)
        )
        return replace(self, fields=fields, rows=tuple(rows))

    def parts(self, kind: Callable[[Mapping[str, Value]], Hashable]) -> list[Relation]:
        """The rows by their kinds, a relation for each."""
        kinds: dict[Hashable, list[Row]] = {}
        for row in self.rows:
            kinds.setdefault(kind(row.values), []).append(row)
        return [replace(self, rows=tuple(rows)) for rows in kinds.values()]

    def join(self, other: Relation, most: int) -> Relation:
        """The rows of both that agree on the fields that they share. No rows, and a gap, where they are more than
        `most`."""
        shared = sorted(self.fields & other.fields)
        by_shared: dict[tuple[object, ...], list[Row]] = {}
        for row in other.rows:
            by_shared.setdefault(_key(row.values, shared), []).append(row)
        free = any(_FREE in key for key in by_shared)
        rows: list[Row] = []
        for row in self.rows:
            key = _key(row.values, shared)
            exact = not free and _FREE not in key
            keys = [key] if exact else [k for k in by_shared if _compatible(key, k)]
            for found in (r for k in keys for r in by_shared.get(k, ())):
                rows.append(Row({**row.values, **found.values}, row.price + found.price))
            if len(rows) > most:
                return self._with(other, (), f"more than {most:,} combinations")
        return self._with(other, tuple(rows), self.gap or other.gap)

    def _with(self, other: Relation, rows: tuple[Row, ...], gap: str) -> Relation:
        witness = " + ".join(dict.fromkeys([*self.witness.split(" + "), *other.witness.split(" + ")]))
        open_fields = {**self.open_fields, **other.open_fields}
        return Relation(witness, self.fields | other.fields, rows, gap, open_fields)


def is_stand_in(value: Value) -> bool:
    """Whether it stands for values that no condition names, alone or in a list."""
    return value is OTHER or (isinstance(value, tuple) and OTHER in value)


def certain(relations: Iterable[Relation]) -> dict[str, Value]:
    """The fields that one of the relations decides by itself."""
    found: dict[str, Value] = {}
    for relation in relations:
        if relation.closed:
            found |= {name: value for name, value in relation.agreed().items() if relation.told(name)}
    return found


def agreed(relations: Iterable[Relation]) -> dict[str, Value]:
    """What all rows say alike, relation by relation."""
    return {field: value for relation in relations for field, value in relation.agreed().items()}


def joined(relations: Iterable[Relation], ties: Iterable[Set[str]], most: int) -> list[Relation]:
    """The relations, those that share a field, or that one of the ties holds together, made one.

    Small ones are joined first, and one that shares a field before one that does not: fewer rows on the way.
    """
    result = []
    for group in connected(list(relations), lambda relation: relation.fields, ties):
        left = sorted(group, key=lambda relation: len(relation.rows))
        whole = left.pop(0)
        while left:
            following = next((r for r in left if r.fields & whole.fields), left[0])
            left.remove(following)
            whole = whole.join(following, most)
        result.append(whole)
    return result


def connected(
    items: Sequence[T], fields: Callable[[T], Set[str]], ties: Iterable[Set[str]] = ()
) -> list[list[T]]:
    """The items in groups, so that no field is in two of them, and none of the ties spans two.

    Groups and items stand in the order of the items. An item without fields is in none.
    """
    own = [fields(item) for item in items]
    every = frozenset().union(*own)
    groups: list[tuple[set[str], list[int]]] = []
    for place, names in enumerate([*own, *(tie & every for tie in ties)]):
        if not names:
            continue
        touching = [group for group in groups if not group[0].isdisjoint(names)]
        groups = [group for group in groups if group[0].isdisjoint(names)]
        members = sorted(number for group in touching for number in group[1])
        merged = set(names).union(*(group[0] for group in touching))
        groups.append((merged, [*members, place] if place < len(items) else members))
    return [[items[n] for n in members] for _, members in sorted(groups, key=lambda g: g[1])]


_FREE = object()  # a field that a row leaves free: it goes with every value


def _key(values: Mapping[str, Value], fields: Iterable[str]) -> tuple[object, ...]:
    return tuple(values.get(field, _FREE) for field in fields)


def _compatible(left: tuple[object, ...], right: tuple[object, ...]) -> bool:
    return all(a is _FREE or b is _FREE or a == b for a, b in zip(left, right, strict=True))
