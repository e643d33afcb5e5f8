"""Random configs that the reference accepts. Fits are tested on them and pages are proven with them."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.names import STACK, are_beside
from weightsmith.shapes.learn.probe.builder import names
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.page.field_names import length_of
from weightsmith.shapes.page.value import is_number

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.learn.probe.probe import BuildObservation
    from weightsmith.shapes.page.value import Value


_SMALL = 16
_BEYOND = "a small number beyond the layers"
_THRESHOLD = re.compile(r"([\w.]+) (?:<=|>=|<|>) (\d+)\b")


def draw(
    found: FieldSurvey, rng: random.Random, why: str, *, structure_only: bool = False, tries: int = 12
) -> BuildObservation | None:
    """A random config that the reference accepts, None when there is none.

    As long as the config is refused, each change is taken back with a chance of 0.4. structure_only: only fields
    are changed that add or remove tensors. why: what it is drawn for. tries: how often it is built.
    """
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
    for name in [n for n, v in changes.items() if isinstance(v, tuple)]:
        changes[name] = _random_list(found, rng, name, changes)
    for _ in range(tries):
        tried = found.lab.observe(Probe(dict(changes), f"random: {why}"))
        if tried is not None:
            return tried
        for name in list(changes):
            if rng.random() < 0.4:
                del changes[name]
    return None


def observe_beyond_layers(found: FieldSurvey, rng: random.Random, tries: int = 10) -> None:
    """Builds configs in which a small number exceeds the number of layers.

    Models with offsets and shared layers behave otherwise there, and random configs are seldom there.
    """
    small = [n for n, v in found.accepted.items() if all(_is_small(item) for item in v)]
    lists = [n for n, v in found.accepted.items() if any(isinstance(item, tuple) for item in v)]
    for name in small:
        near = [c for c in found.accepted if STACK.search(c) and are_beside(c, name) and c != name]
        for count, size in product(near, (2, 4, 6)):
            for _ in range(tries):
                changes: dict[str, Value] = {count: size, name: size + 1}
                own = [n for n in lists if length_field(found, n) == count]
                changes |= {n: _random_list(found, rng, n, changes) for n in own}
                if found.lab.observe(Probe(changes, _BEYOND)) is not None or not own:
                    break
            turned = {n: not v[0] for n, v in found.accepted.items() if isinstance(v[0], bool) and len(v) > 1}
            for flags in (
                turned,
                *({n: v} for n, v in turned.items()),
            ):  # what a flag adds may depend on it, too
                if found.lab.observe(Probe({**changes, **flags}, _BEYOND)) is not None:
                    break


def observe_thresholds(found: FieldSurvey, conditions: Iterable[str]) -> list[BuildObservation]:
    """Configs at the thresholds that conditions name, where these lie between numbers that were tried."""
    built = []
    for name, number in dict.fromkeys(pair for text in conditions for pair in _THRESHOLD.findall(text)):
        seen = sorted({v for v in found.accepted.get(name, ()) if is_number(v)})
        if not seen or seen[-1] > 2 * _SMALL + 2:
            continue
        above = next((v for v in seen if v > int(number)), seen[-1])
        for value in range(int(number), above):
            probe = Probe({name: value}, "at the threshold of a condition", found.base, (name,))
            if value not in seen and (tried := found.lab.observe(probe)):
                built.append(tried)
                found.accepted[name].append(value)
    return built


def _is_small(value: Value) -> bool:
    return value is None or (is_number(value) and 0 <= value <= _SMALL)


def _random_list(found: FieldSurvey, rng: random.Random, name: str, changes: Mapping[str, Value]) -> Value:
    """A list of the length that the changed count asks for, its items drawn from what was accepted."""
    own = found.base.values[name]
    options = [v for v in found.accepted[name] if isinstance(v, tuple)]
    items = (
        list(dict.fromkeys(i for v in options for i in v))
        if all(not isinstance(i, tuple) for v in options for i in v)
        else []
    )
    count = length_field(found, name)
    if count is None or not items or not isinstance(own, tuple):
        return mixed_list(rng, options)
    length = changes.get(count, found.base.values[count])
    if not is_number(length):
        return own
    return tuple(rng.choice(items) for _ in range(length))


def mixed_list(rng: random.Random, options: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
    """One of the lists, or for numbers and flags, as often, a list whose items come from different ones.

    Two places that only ever change together look like one.
    """
    whole = rng.choice(options)
    if not all(isinstance(item, int) for item in whole) or rng.random() < 0.5:
        return whole
    alike = [option for option in options if len(option) == len(whole)]
    return tuple(rng.choice(alike)[place] for place in range(len(whole)))


def length_field(found: FieldSurvey, name: str) -> str | None:
    """The count that a list's length follows: equal to it wherever the class made the list by itself.

    Of several that do, the first in the config. For a count of 0 a class may make one item all the same.
    """
    if name in found.lab.followers:
        return found.lab.followers[name][0]
    for count in found.base.values:
        if count not in found.counts or not are_beside(count, name):
            continue
        own = [
            o
            for o in found.lab.observations
            if isinstance(o.values.get(name), tuple) and name not in o.settings and o.values.get(count) != 0
        ]
        if own and all(length_of(o.values[name]) == o.values.get(count) for o in own):
            return count
    return None
