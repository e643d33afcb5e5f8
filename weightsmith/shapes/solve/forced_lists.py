"""Layer lists of which the tensors of each layer alone force every item, whatever the other fields are.

Most conditions name a kind and ask no more (`kinds[layer] == 'attention'`), so this is the usual case. A list that is
found here ties no flags together, and the search for those stays small.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.shapes.page.condition_uses import readings
from weightsmith.shapes.page.value import LONGEST_LIST
from weightsmith.shapes.solve.candidate_values import OTHER, kinds
from weightsmith.shapes.solve.layer_lists import (
    WITNESS,
    Assembly,
    is_counted,
    list_length,
    places_read,
    watching,
)
from weightsmith.shapes.solve.relation import NEAREST, Relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.condition_uses import Reading
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.layer_lists import Place
    from weightsmith.shapes.solve.observations import Observation


def forced_lists(
    observations: Mapping[Observation, int],
    known: Mapping[str, Value],
    counted: Mapping[str, Value],
    stated: Stated,
) -> list[Relation]:
    """Every list of which each item that some condition reads can be one thing only.

    Where tensors contradict each other, an item is the one that the fewest of them rule out.

    observations: what was seen, and how many roles agree on it. known: fields that are decided. counted: what a loader
    would take for every field.
    """
    asked = readings(condition for seen in observations for condition in seen.conditions)
    open_lists = [f for f in asked if asked[f].listed and f in stated.page.fields and f not in known]
    found: list[Relation] = []
    for field in open_lists:
        reading = {seen: roles for seen, roles in observations.items() if field in seen.fields()}
        if is_counted(field, known, stated) and all(seen.names for seen in reading):
            forced = _forced(field, reading, known, counted, stated, asked[field])
            found += [forced] if forced else []
    return found


def _forced(
    field: str,
    observations: Mapping[Observation, int],
    known: Mapping[str, Value],
    counted: Mapping[str, Value],
    stated: Stated,
    reading: Reading,
) -> Relation | None:
    """The list, if its items are forced; None where one could be several things."""
    lengths = {field: list_length(field, observations, known, counted, stated)}
    if lengths[field] > LONGEST_LIST:
        return None
    options = {field: kinds(field, stated.page, reading, counted.get(field))}
    against = _against(observations, known, lengths, options)
    trial: dict[Place, Value] = {}
    for place, faults in against.items():
        least = min(faults)
        best = [kind for kind, number in zip(options[field], faults, strict=True) if number == least]
        if best[0] is OTHER or (len(best) > 1 and not least):
            return None
        trial[place] = best[0]
    if not trial:
        return None
    exact = all(min(faults) == 0 for faults in against.values())
    own = frozenset({field} if stated.has(field) else ())
    assembly = Assembly((field,), lengths, counted, {field: reading}, options, own, frozenset())
    found = Relation.of(WITNESS, assembly.whole(trial), "" if exact else NEAREST)
    return replace(found, open_fields=assembly.open_fields(trial))


def _against(
    observations: Mapping[Observation, int],
    known: Mapping[str, Value],
    lengths: Mapping[str, int],
    options: Mapping[str, Sequence[Value]],
) -> dict[Place, list[int]]:
    """For each place of a list that conditions read, how many tensors rule out each of its options, whatever the
    other fields are. What reads many places at once, such as all layers before one, rules out none by itself."""
    (values,) = options.values()
    found: dict[Place, list[int]] = {}
    for seen, roles in observations.items():
        for combination in seen.looked_at:
            places = places_read(seen, combination, known, lengths, options) or set()
            for place in places:
                faults = found.setdefault(place, [0] * len(values))
                for number, kind in enumerate(values if len(places) == 1 else ()):
                    trial = watching(known, lengths, {place: kind}, [])
                    faults[number] += roles * seen.contradicted(combination, trial)
    return found
