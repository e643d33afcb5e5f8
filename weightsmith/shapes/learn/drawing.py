"""Random configs that the reference accepts: what fits are tried on and pages are proven with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.learn.base import is_int
from weightsmith.shapes.learn.lab import names

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from weightsmith.shapes.expression import Value
    from weightsmith.shapes.learn.lab import Observation
    from weightsmith.shapes.learn.survey import Survey


def draw(
    found: Survey, rng: random.Random, *, structure_only: bool = False, tries: int = 12
) -> Observation | None:
    """A random config that the reference accepts: what it refuses is moved back to the base, half at a time."""
    base = found.base
    before = names(base)
    changes: dict[str, Value] = {}
    structural = {n for o in found.lab.observations for n in o.changed if names(o) != before}
    for name, values in found.accepted.items():
        if (structure_only and name not in structural) or rng.random() < 0.15:
            continue
        changes[name] = rng.choice(values)
    for move in found.moves:
        if rng.random() < 0.3:
            changes |= move
    for name in [n for n, v in changes.items() if isinstance(v, list)]:
        changes[name] = _random_list(found, rng, name, changes)
    for _ in range(tries):
        tried = found.lab.observe(changes)
        if tried is not None:
            return tried
        for name in list(changes):
            if rng.random() < 0.4:
                del changes[name]
    return None


def _random_list(found: Survey, rng: random.Random, name: str, changes: Mapping[str, Value]) -> Value:
    """A list of the length that the changed count asks for, its items drawn from what was accepted."""
    own = found.base.values[name]
    options = [v for v in found.accepted[name] if isinstance(v, list)]
    items = (
        list(dict.fromkeys(i for v in options for i in v))
        if all(not isinstance(i, list) for v in options for i in v)
        else []
    )
    count = length_field(found, name)
    if count is None or not items or not isinstance(own, list):
        return rng.choice(options)
    length = changes.get(count, found.base.values[count])
    if not is_int(length):
        return own
    return [rng.choice(items) for _ in range(length)]


def length_field(found: Survey, name: str) -> str | None:
    """The count that a list's length follows: equal to it wherever the class made the list by itself."""
    if name in found.lab.followers:
        return found.lab.followers[name][0]
    prefix = name.rpartition(".")[0]
    candidates = []
    for count in found.counts:
        if count.rpartition(".")[0] != prefix:
            continue
        own = [
            o
            for o in found.lab.observations
            if isinstance(o.values.get(name), list) and name not in o.settings
        ]
        if own and all(len(o.values[name]) == o.values.get(count) for o in own):
            candidates.append(count)
    return candidates[0] if candidates else None
