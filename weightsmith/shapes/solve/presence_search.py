"""The search for values that explain which tensors are there, condition by condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.solve.budget import BUDGET, Count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.observations import Observation


def _ordered(domains: Mapping[str, Sequence[Value]], group: Sequence[Observation]) -> list[str]:
    """Fields in an order in which conditions become decidable early: the next one shares a condition, and is small."""
    left = set(domains)
    order: list[str] = []
    while left:
        touched = {f for seen in group if seen.fields() & set(order) for f in seen.fields()}
        best = min(left, key=lambda f: (f not in touched, len(domains[f]), f))
        order.append(best)
        left.remove(best)
    return order


class PresenceSearch:
    """Depth-first over the fields' values; a condition prunes as soon as all that it reads is chosen.

    domains: per field, every value to try. group: what was seen. known: fields that are decided. lists: fields that
    some conditions read and that are not searched here; such a condition prunes where the other fields suffice.
    tried: how many combinations were looked at; the search ends where they are too many.
    """

    def __init__(
        self,
        domains: Mapping[str, Sequence[Value]],
        group: Sequence[Observation],
        known: Mapping[str, Value],
        lists: frozenset[str] = frozenset(),
    ) -> None:
        order = _ordered(domains, group)
        most = BUDGET.combinations
        self.tried = Count(most, f"given up after {most:,} combinations of flags and counts")
        self._order, self._domains, self._known, self._lists = order, domains, known, lists
        self._memory: dict[tuple[int, tuple[object, ...]], bool] = {}
        # Per depth, the observations that become decidable with the field chosen there.
        self._due: list[list[tuple[int, tuple[str, ...], Observation]]] = [[] for _ in order]
        for number, seen in enumerate(group):
            fields = tuple(f for f in order if f in seen.fields())
            if fields:
                self._due[max(order.index(f) for f in fields)].append((number, fields, seen))

    def exact(self) -> Iterator[dict[str, Value]]:
        """Every combination that explains all observations, while the limit holds."""
        yield from self._descend(0, {})

    def _descend(self, depth: int, values: dict[str, Value]) -> Iterator[dict[str, Value]]:
        if depth == len(self._order):
            yield dict(values)
            return
        field = self._order[depth]
        for value in self._domains[field]:
            if not self.tried.take():
                return
            values[field] = value
            if all(
                self._explained(number, fields, seen, values) for number, fields, seen in self._due[depth]
            ):
                yield from self._descend(depth + 1, values)
            if self.tried.spent:
                return
        values.pop(field, None)

    def _explained(
        self, number: int, fields: tuple[str, ...], seen: Observation, values: Mapping[str, Value]
    ) -> bool:
        key = number, tuple((type(values[f]), values[f]) for f in fields)
        if key not in self._memory:
            environment = {**self._known, **values}
            if seen.fields() & self._lists:
                self._memory[key] = not seen.is_contradicted(environment)
            else:
                self._memory[key] = seen.is_explained(environment)
        return self._memory[key]
