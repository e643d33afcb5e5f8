"""Which fields the tensors depend on, and which values of them the reference accepts: one change at a time."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.names import STACK, are_beside
from weightsmith.shapes.learn.probe.builder import kinds_of_names, names
from weightsmith.shapes.learn.probe.drawing import draw
from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.learn.probe.trial_values import alternatives
from weightsmith.shapes.learn.probe.undeclared import telling_values
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.page.value import is_number, is_number_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.shapes.learn.probe.builder import Lab
    from weightsmith.shapes.learn.probe.probe import BuildObservation
    from weightsmith.shapes.page.value import Value

_GROUP = 8
_ASKED = "which undeclared settings does it ask for?"
# Zero and null often mean "without": asked whatever else was accepted.
_SPECIAL = (0, None)
_MAX_ACCEPTED = 8
_MAX_BASES = 16
# Of observations that show no new tensors, only more shapes of known ones, the first few.
_MAX_MIXED = 3
_MAX_PARTNERS = 4
# More than most periods and their offsets come to.
_MANY_LAYERS = 16
# A count of modules is not raised beyond this: every build would take longer and teach nothing.
_MAX_COUNT = 12


def survey_fields(lab: Lab, base: BuildObservation, words: Mapping[str, Sequence[str]]) -> FieldSurvey:
    """Single changes from the base, then from every observation that shows kinds of tensors not seen before."""
    found = FieldSurvey(lab, base, words)
    fields = found.candidates()
    for name in _sensitive(found, base, fields):
        _probe(found, base, name)
    _coupled(found, base, fields)
    bases, seen = [base], kinds_of_names(base)
    for observation in list(lab.observations):
        fresh = kinds_of_names(observation) - seen
        telling = fresh or _stands_for_something(observation, base) or changes_shapes_alone(observation, base)
        if telling and observation.changed and len(bases) < _MAX_BASES:
            seen |= kinds_of_names(observation)
            bases.append(observation)
            from_second_base(found, observation, fields)
    _from_mixed_bases(found, bases, fields)
    rng = random.Random(0)
    others = [*with_uneven_layers(found)]
    for i in range(len(others) + 3):  # what a field decides may show only once others have changed
        other = others[i] if i < len(others) else draw(found, rng, "another base", structure_only=True)
        if other is not None:
            rest = {n: v for n, v in fields.items() if n not in found.accepted}
            for name in _sensitive(found, other, rest):
                _probe(found, base, name)
                _probe(found, other, name)
    _probe_many_layers(found)
    return found


def undeclared_elsewhere(found: FieldSurvey) -> list[dict[str, Value]]:
    """Changes of the base under which an undeclared setting moves a tensor, asked for by code that the base never runs.

    Such as that of layers of a kind that the base does not have.
    """
    lab, seen = found.lab, kinds_of_names(found.base)
    tried = lab.reads(Probe({}, _ASKED))
    telling = []
    for observation in list(lab.observations):
        if kinds_of_names(observation) <= seen:
            continue
        seen |= kinds_of_names(observation)
        changes = changes_of(observation, found)
        fresh = []
        for name, lines in lab.reads(Probe(changes, _ASKED)).items():
            if name not in observation.values and not lines <= tried.get(name, frozenset()):
                fresh.append(name)
            tried[name] = tried.get(name, frozenset()) | lines
        if any(telling_values(lab, observation, changes, name) for name in fresh):
            telling.append(changes)
    return telling


def with_uneven_layers(found: FieldSurvey) -> Iterator[BuildObservation]:
    """Observations in which a number added tensors to some layers only, or removed them from some.

    One per number, the first. A flag may concern these layers alone.
    """
    known: set[str] = set()
    for observation in found.lab.observations:
        single = observation.origin is found.base and len(observation.changed) == 1
        if (
            single
            and observation.changed[0] not in known
            and is_number(observation.values.get(observation.changed[0]))
        ):
            before, after = names(found.base), names(observation)
            if before != after and _places(before) == _places(after):
                known.add(observation.changed[0])
                yield observation


def _probe_many_layers(found: FieldSurvey) -> None:
    """Changes small numbers in deeper stacks: how often a kind of layer comes shows only behind its second layer."""
    stacks = [name for name in found.base.values if name in found.counts and STACK.search(name)]
    many: dict[str, Value] = dict.fromkeys(stacks, _MANY_LAYERS)
    deep = found.lab.observe(Probe(many, "a deep stack to change from", found.base)) if stacks else None
    if deep is None:
        return
    for name, value in found.candidates().items():
        if is_number(value) and 1 < value < _MANY_LAYERS and name not in found.counts:
            _probe(found, deep, name, limit=3)


def _places(tensors: set[str]) -> set[tuple[str, int]]:
    """Every container with each index in it: `model.layers.3`."""
    found = (re.match(r"([^0-9]+)([0-9]+)", name) for name in tensors)
    return {(place[1], int(place[2])) for place in found if place}


def _stands_for_something(observation: BuildObservation, base: BuildObservation) -> bool:
    """Whether a field was set to null and the model then computes it from other fields."""
    if observation.origin is not base or len(observation.changed) != 1 or _alike(observation, base):
        return False
    (name,) = observation.changed
    return observation.values.get(name) is None and base.values.get(name) is not None


def changes_shapes_alone(observation: BuildObservation, base: BuildObservation) -> bool:
    """Whether one change left all names as they are and changed shapes in a way that needs other equations.

    So do flags, words and lists of words that change a shape, and whatever changes a number of axes.
    """
    if observation.origin is not base or len(observation.changed) != 1 or names(observation) != names(base):
        return False
    value = observation.values.get(observation.changed[0])
    said = value[0] if isinstance(value, tuple) and value else value
    word = isinstance(said, str | bool) and not _alike(observation, base)
    return word or _axes(observation) != _axes(base)


def _axes(observation: BuildObservation) -> list[int]:
    """How many axes each tensor has."""
    return [len(table[name]) for table in observation.tables.values() for name in sorted(table)]


def from_second_base(found: FieldSurvey, origin: BuildObservation, fields: Mapping[str, Value]) -> None:
    """Single changes from an observation that shows what the base does not."""
    rest = {n: v for n, v in fields.items() if n not in found.accepted and n not in origin.changed}
    new = _sensitive(found, origin, rest)
    for name in (*new, *found.accepted):
        if isinstance(origin.values.get(name), int | float) and (
            name not in origin.changed or is_number(origin.values[name])
        ):
            _probe(found, origin, name, limit=3 if name in found.accepted else _MAX_ACCEPTED)

    for move in found.moves:
        together = {**changes_of(origin, found), **move}
        found.lab.observe(Probe(together, "fields that change together", origin, tuple(move)))


def _from_mixed_bases(
    found: FieldSurvey, bases: Sequence[BuildObservation], fields: Mapping[str, Value]
) -> None:
    """Single changes from observations in which one kind of tensor has more shapes than in any base.

    Other equations hold there, and a flag that matters only there may make other fields matter in turn.
    """
    seen = set().union(*map(_varieties, bases))
    mixed = 0
    for observation in list(found.lab.observations):
        fresh = _varieties(observation) - seen
        if not fresh or not observation.changed or mixed >= _MAX_MIXED:
            continue
        mixed += 1
        seen |= fresh
        known, before = set(found.accepted), len(found.lab.observations)
        from_second_base(found, observation, fields)
        for flagged in found.lab.observations[before:]:
            if len(flagged.changed) == 1 and _is_new_flag(flagged, known):
                rest = {n: v for n, v in fields.items() if n not in found.accepted}
                for name in _sensitive(found, flagged, rest):
                    _probe(found, flagged, name)


def _varieties(observation: BuildObservation) -> set[tuple[str, int]]:
    """(digit-free name, n) for every n up to the number of shapes that tensors of that name have."""
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for table in observation.tables.values():
        for name, shape in table.items():
            shapes.setdefault(name_key(name), set()).add(shape)
    return {(key, number + 1) for key, found in shapes.items() for number in range(len(found))}


def _is_new_flag(observation: BuildObservation, known: set[str]) -> bool:
    (name,) = observation.changed
    return name not in known and isinstance(observation.values.get(name), bool)


def changes_of(origin: BuildObservation, found: FieldSurvey) -> dict[str, Value]:
    """The settings in which the origin differs from the lab's base."""
    return {
        n: v
        for n, v in origin.settings.items()
        if found.lab.base.get(n, ...) != v and n not in found.lab.followers
    }


def _sensitive(found: FieldSurvey, origin: BuildObservation, fields: Mapping[str, Value]) -> list[str]:
    """Fields whose change moves any tensor. They are changed in groups, and groups that show anything are halved."""
    sensitive: list[str] = []
    for turn in (0, 1, 2):
        asked = {}
        for name, value in fields.items():
            options = alternatives(found.words, name, origin.values.get(name, value))
            if name not in sensitive and len(options) > turn:
                asked[name] = options[turn]
        items = list(asked.items())
        for start in range(0, len(items), _GROUP):
            sensitive += _split(found, origin, dict(items[start : start + _GROUP]))
    return list(dict.fromkeys(sensitive))


def _split(found: FieldSurvey, origin: BuildObservation, asked: dict[str, Value]) -> list[str]:
    single = next(iter(asked)) if len(asked) == 1 else None
    why = "does it move a tensor?" if single else "does any of these move a tensor?"
    changes = {**changes_of(origin, found), **asked}
    tried = found.lab.observe(Probe(changes, why, origin, (single,) if single else ()))
    if tried is not None and _alike(tried, origin):
        return []
    if single is not None:
        if tried is None:
            found.refused[single] = None
        return [single] if tried is not None else []
    items = list(asked.items())
    middle = len(items) // 2
    return _split(found, origin, dict(items[:middle])) + _split(found, origin, dict(items[middle:]))


def _changed(
    found: FieldSurvey, origin: BuildObservation, changes: Mapping[str, Value], why: str
) -> BuildObservation | None:
    """What is built where the origin is changed in these fields alone."""
    return found.lab.observe(Probe({**changes_of(origin, found), **changes}, why, origin, tuple(changes)))


def _alike(a: BuildObservation, b: BuildObservation) -> bool:
    return a.tables == b.tables and a.copies == b.copies


def _coupled(found: FieldSurvey, origin: BuildObservation, fields: Mapping[str, Value]) -> None:
    """Fields that the reference lets change only together: hidden * expand = heads * head_dim."""
    for name in list(found.refused):
        if len(found.accepted.get(name, ())) > 2:
            continue
        if _moves_alone(found, origin, name):
            _probe(found, origin, name)
            continue
        own, partners = fields.get(name), 0
        for other, value in fields.items():
            if other == name or partners >= _MAX_PARTNERS or not are_beside(other, name):
                continue
            for pair in _pairs(own, value):
                both = {name: pair[0], other: pair[1]}
                tried = _changed(found, origin, both, "refused alone: does it change with another?")
                if tried is None or _alike(tried, origin):
                    continue
                partners += 1
                for field_name, new in both.items():
                    accepted = found.accepted.setdefault(field_name, [fields[field_name]])
                    if new not in accepted:
                        accepted.append(new)
                found.moves.append(both)
        _with_settings(found, origin, name)


def _with_settings(found: FieldSurvey, origin: BuildObservation, name: str) -> None:
    """Changes a number together with the lists in a dict beside it that must add up to it.

    A head width and the sections of its rotation are such a pair.
    """
    own = origin.values.get(name)
    if not isinstance(own, int) or isinstance(own, bool):
        return
    beside = [
        (other, value)
        for other, value in origin.values.items()
        if isinstance(value, dict) and are_beside(other, name)
    ]
    for other, settings in beside:
        for factor, divisor in ((2, 1), (1, 2), (3, 1), (3, 2), (4, 1)):
            scaled = {key: _scaled(value, factor, divisor) for key, value in settings.items()}
            if scaled == settings or own * factor % divisor:
                continue
            both: dict[str, Value] = {name: own * factor // divisor, other: scaled}
            changes = {**changes_of(origin, found), **both}
            tried = found.lab.observe(Probe(changes, "refused alone: with its parts?", origin, (name,)))
            if tried is not None and not _alike(tried, origin):
                found.moves.append(both)
                accepted = found.accepted.setdefault(name, [own])
                accepted += [v for v in (both[name],) if v not in accepted]


def _scaled(value: Value, factor: int, divisor: int) -> Value:
    return tuple(item * factor // divisor for item in value) if is_number_list(value) else value


def _moves_alone(found: FieldSurvey, origin: BuildObservation, name: str) -> bool:
    """Whether some other value is accepted after all and moves a tensor; the first that were tried may all be odd."""
    for value in alternatives(found.words, name, origin.values.get(name), all_of_them=True):
        tried = _changed(found, origin, {name: value}, "refused so far: is another value taken?")
        if tried is not None and not _alike(tried, origin):
            return True
    return False


def _pairs(a: Value, b: Value) -> list[tuple[Value, Value]]:
    if isinstance(a, bool) and isinstance(b, bool):
        return [(not a, not b)]
    if is_number(a) and is_number(b) and a > 1 and b > 1:
        halves = [(2 * a, b // 2), (a // 2, 2 * b)] if a % 2 == b % 2 == 0 else []
        return [(2 * a, 2 * b), (3 * a, 3 * b), *halves]
    if (a is None and is_number(b)) or (isinstance(a, bool) and b is None):
        return [(True if a is None else not a, 8)]
    return []


def _probe(found: FieldSurvey, origin: BuildObservation, name: str, limit: int = _MAX_ACCEPTED) -> None:
    """All candidate values of one field, until enough of them were accepted."""
    own: Value = origin.values.get(name)
    accepted = found.accepted.setdefault(name, [own])
    limit += len(own) // 2 if isinstance(own, tuple) else 0  # each item has its say
    new = 0
    before = names(origin)
    usual = alternatives(found.words, name, own, all_of_them=True)
    for value in [*usual, *(v for v in _SPECIAL if is_number(own) and not _is_left_out(found, name, v))]:
        if (new >= limit and value not in _SPECIAL) or (value == own and type(value) is type(own)):
            continue
        if name in found.counts and is_number(value) and is_number(own) and value > max(_MAX_COUNT, own + 2):
            continue
        tried = _changed(found, origin, {name: value}, "a value of a field that matters")
        if tried is None:
            continue
        if value == 0 and value is not False and names(tried) == before:
            found.lab.forget(tried)  # `x or other`: zero that removes nothing stands for something else
            if tried.values.get(name) != 0:
                found.replaced[name] = None
            continue
        if value == 0 and name in found.counts and _leaves_misfits(tried, origin):
            found.lab.forget(tried)
            found.replaced[name] = None
            continue
        new += 1
        if is_number(value) and is_number(own) and len(names(tried)) != len(before) and own >= 1:
            found.counts.add(name)
        if value not in accepted or any(type(value) is not type(a) for a in accepted if a == value):
            accepted.append(value)


def _is_left_out(found: FieldSurvey, name: str, value: Value) -> bool:
    """Whether null is the same as leaving the setting out, which a page says as the default of the field."""
    return value is None and name in found.lab.hidden and found.lab.hidden[name] is None


def _leaves_misfits(tried: BuildObservation, origin: BuildObservation) -> bool:
    """Whether a count of 0 removes tensors, adds none and changes a shape.

    The removed modules then led from one width to another, and without them no forward pass could run.
    """
    return names(tried) < names(origin) and any(
        shape != origin.tables[architecture][name]
        for architecture, table in tried.tables.items()
        for name, shape in table.items()
    )
