"""Layer lists of which the tensors of each layer alone force every item, whatever the other fields are.

Most conditions name a kind and ask no more (`kinds[layer] == 'attention'`), so this is the usual case. A list that is
found here ties no flags together, and the search for those stays small.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.shapes.page.condition_uses import readings
from weightsmith.shapes.solve.candidate_values import OTHER
from weightsmith.shapes.solve.layer_lists import WITNESS, Lists, is_counted
from weightsmith.shapes.solve.relation import NEAREST, Relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
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
            lists = Lists.of({field: asked[field]}, reading, known, counted, stated)
            forced = None if lists.too_long else _forced(lists, reading, known)
            found += [forced] if forced else []
    return found


def _forced(
    lists: Lists, observations: Mapping[Observation, int], known: Mapping[str, Value]
) -> Relation | None:
    """The one list, if its items are forced; None where one could be several things."""
    (options,) = lists.options.values()
    against = _against(lists, options, observations, known)
    trial: dict[Place, Value] = {}
    for place, faults in against.items():
        least = min(faults)
        best = [kind for kind, number in zip(options, faults, strict=True) if number == least]
        if best[0] is OTHER or (len(best) > 1 and not least):
            return None
        trial[place] = best[0]
    if not trial:
        return None
    exact = all(min(faults) == 0 for faults in against.values())
    found = Relation.of(WITNESS, lists.whole(trial), "" if exact else NEAREST)
    return replace(found, open_fields=lists.open_fields(trial))


def _against(
    lists: Lists,
    options: Sequence[Value],
    observations: Mapping[Observation, int],
    known: Mapping[str, Value],
) -> dict[Place, list[int]]:
    """For each place of a list that conditions read, how many tensors rule out each of its options, whatever the
    other fields are. What reads many places at once, such as all layers before one, rules out none by itself."""
    found: dict[Place, list[int]] = {}
    for seen, roles in observations.items():
        for combination in seen.looked_at:
            places = lists.places_read(seen, combination, known) or set()
            for place in places:
                faults = found.setdefault(place, [0] * len(options))
                for number, kind in enumerate(options if len(places) == 1 else ()):
                    faults[number] += roles * seen.contradicted(
                        combination, lists.watched(known, {place: kind})
                    )
    return found
