"""What a field is when a config leaves it out: a constant, or an expression of other fields."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.conditions import learn_condition
from weightsmith.shapes.learn.fit.polynomials import fit_value
from weightsmith.shapes.learn.names import are_beside, is_field
from weightsmith.shapes.learn.probe.drawing import length_field
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.learn.probe.single_changes import changes_of
from weightsmith.shapes.learn.probe.undeclared import size_taken
from weightsmith.shapes.learn.write.formatting import say_axis
from weightsmith.shapes.page.value import is_number, thaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.learn.fit.conditions import Row
    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.page.value import Value

    # All values of a config that does not state a field, and what the field then is.
    DefaultRow = tuple[Mapping[str, Value], Value]

# Few draws show whether a default moves at all; only then it is worth many.
_FEW, _DRAWS = 10, 60
_DEFAULT = "what does the class take where it is left out?"
# Where each draw takes four models: so many draws, and so many values of a field.
_BUILT_DRAWS, _BUILT_VALUES = 16, 3
_MAX_FIELDS = 6
# So many values of a field show whether it moves a default at all.
_FEW_VALUES = 4
# Null stands for a number below this.
_STANDS_FOR = 9
# A share of a usual ratio that makes no whole number: only then a product that is rounded shows.
_NO_WHOLE = 0.7
# How often a random config has each change that the reference takes of several fields together only.
_MOVED = 0.3


class NoRule(Exception):
    """The default follows other fields in a way that no expression of the language says."""


def default_rule(found: FieldSurvey, name: str, class_default: Value) -> Value:
    """The class default, or "= expression". Raises NoRule."""
    rows = _left_out(found, name, _FEW)
    if not rows and class_default is None:
        rows = _taken_by_model(found, name)
        if not rows:
            return _inside(found, name)
    elif len({repr(value) for _, value in rows}) > 1:
        rows = _left_out(found, name, _DRAWS)
    seen = {repr(value) for _, value in rows}
    if len(seen) <= 1:
        # An inner config that the outer class leaves out has defaults of its own.
        return rows[0][1] if rows and (class_default is None or "." in name) else class_default
    moved = _movers(found, name, rows)
    fractions = _moving_fractions(found, name)
    rows += _rows(found, name, ({n: v} for n, values in fractions.items() for v in values))
    moved = [*fractions, *moved]
    numbers = [(values, value) for values, value in rows if is_number(value)]
    if len(numbers) == len(rows):
        fitted = fit_value(numbers, moved[:_MAX_FIELDS]) or fit_value(numbers, _beside(found, name, rows))
        if fitted is not None:
            return f"= {say_axis(fitted)}"
    lists = [(values, value) for values, value in rows if isinstance(value, tuple)]
    if len(lists) == len(rows):
        return _list_default(found, name, lists, moved)
    if all(isinstance(value, bool) for _, value in rows):
        test = learn_condition([(values, bool(value)) for values, value in rows], moved, {})
        if test:
            return f"= {test}"
    raise NoRule(f"its default follows {', '.join(moved)}")


def _inside(found: FieldSurvey, name: str) -> Value:
    """The value of a setting that builds the same tensors as leaving it out, None when there is none."""
    around = _where_it_tells(found, name)
    without = found.lab.built(Probe(around, "left out", without=name))
    if without is None or name in without.values:
        return None
    for value in found.accepted.get(name, ()):
        stated = found.lab.built(Probe({**around, name: value}, "the same as left out?"))
        if stated is not None and stated.tables == without.tables and stated.copies == without.copies:
            return value
    return None


def _left_out(found: FieldSurvey, name: str, draws: int) -> list[DefaultRow]:
    """Configs that do not state the field, with what it then is."""
    return _rows(found, name, _trials(found, name, {**_siblings(found, name), **found.accepted}, draws))


def _rows(found: FieldSurvey, name: str, trials: Iterable[Mapping[str, Value]]) -> list[DefaultRow]:
    """The same for these settings of other fields; no model is built for them."""
    rows: list[DefaultRow] = []
    hidden = found.lab.hidden
    for changes in trials:
        resolved = found.lab.values(Probe(changes, _DEFAULT, without=name))
        if resolved is not None and name in resolved:
            settings = found.lab.settings(changes)
            taken = {n: settings.get(n, default) for n, default in hidden.items() if n != name}
            rows.append(({**taken, **resolved}, resolved[name]))
    return rows


def _moving_fractions(found: FieldSurvey, name: str) -> dict[str, list[Value]]:
    """Fractions of the same sub-config that move the default → values of each.

    No shape moves with them while the field is stated: the ratio of a width that a class takes without it.
    """
    own = {n: v for n, v in found.base.values.items() if are_beside(n, name) and is_field(n)}
    choices: dict[str, list[Value]] = {
        n: [2 * v, _NO_WHOLE * v] for n, v in own.items() if isinstance(v, float) and v > 0
    }
    usual = _default_there(found, name, {})
    return {n: v for n, v in choices.items() if _default_there(found, name, {n: v[0]}) not in (None, usual)}


def _taken_by_model(found: FieldSurvey, name: str) -> list[DefaultRow]:
    """The same for a size that no class declares: models without it tell which size they take."""
    sizes = [v for v in found.accepted.get(name, ()) if is_number(v) and v > 0][:2]
    if len(sizes) < 2:
        return []
    near = {n: v for n, v in found.accepted.items() if are_beside(n, name)}
    choices = {n: v[:_BUILT_VALUES] for n, v in {**_siblings(found, name), **near}.items()}
    around = _where_it_tells(found, name)
    rows: list[DefaultRow] = []
    for changes in _trials(found, name, choices, _BUILT_DRAWS):
        taken = size_taken(found.lab, name, {**around, **changes}, sizes)
        if taken is not None:
            rows.append((taken.values, taken.values[name]))
    return rows


def _where_it_tells(found: FieldSurvey, name: str) -> dict[str, Value]:
    """Changes of the base in which the setting alone moves a tensor: none where it does so in the base itself."""
    for o in found.lab.observations:
        if o.changed == (name,) and o.origin is not None and o.tables != o.origin.tables:
            return changes_of(o.origin, found)
    return {}


def _trials(
    found: FieldSurvey, name: str, choices: Mapping[str, Sequence[Value]], draws: int
) -> Iterator[dict[str, Value]]:
    """Settings of other fields, lists left as they are: none, single ones where draws are many, and random ones."""
    rng = random.Random(name)
    trials: list[dict[str, Value]] = [{}]
    together = [move for move in found.moves if name not in move]
    if draws > _FEW:
        for other, values in choices.items():
            trials += [{other: item} for item in values[1:] if other != name]
        trials += together
    for i in range(draws):
        # Where few have to tell, every other one changes almost everything: the one field that counts, too.
        share = 0.9 if draws <= _FEW and i % 2 else 0.5
        trial = {o: rng.choice(v) for o, v in choices.items() if o != name and rng.random() < share}
        for move in together:
            trial |= move if rng.random() < _MOVED else {}
        trials.append(trial)
    for changes in trials:
        yield {n: v for n, v in changes.items() if not isinstance(v, tuple)}


def _siblings(found: FieldSurvey, name: str) -> dict[str, list[Value]]:
    """Numbers in the same sub-config, on which no shape may depend while the field is stated, such as heads."""
    own = {n: v for n, v in found.lab.base.items() if are_beside(n, name) and is_field(n)}
    return {
        n: [v, 2 * v, 3 * v, max(1, v // 2)] for n, v in own.items() if is_number(v) and v > 1 and n != name
    }


def _movers(found: FieldSurvey, name: str, rows: Sequence[DefaultRow]) -> list[str]:
    """The fields that moved the default when they alone were changed."""
    base, choices = rows[0], {**_siblings(found, name), **found.accepted}
    moved: dict[str, None] = {}
    for values, value in rows[1:]:
        if value == base[1]:
            continue
        differing = [n for n in choices if n != name and values.get(n) != base[0].get(n)]
        # Some fields change only in company: heads and key-value heads that must be equal.
        if len(differing) == 1 or any(set(differing) == set(move) for move in found.moves):
            moved |= dict.fromkeys(differing)
    return list(moved) or [n for n in found.accepted if n != name][:_MAX_FIELDS]


def _list_default(
    found: FieldSurvey,
    name: str,
    rows: Sequence[tuple[Mapping[str, Value], tuple[Value, ...]]],
    moved: Sequence[str],
) -> str:
    """The rule of a list. Raises NoRule."""
    try:
        return _list_rule(found, name, rows, moved)
    except NoRule:
        further = _moved_from_there(found, name, moved)
        if not further:
            raise
    return _list_rule(found, name, rows, [*moved, *further])


def _moved_from_there(found: FieldSurvey, name: str, moved: Sequence[str]) -> list[str]:
    """The fields that move the default only where one of `moved` was changed: the offset of a period that is 1."""
    choices = {
        n: v for n, v in {**_siblings(found, name), **found.accepted}.items() if n not in (name, *moved)
    }
    further: dict[str, None] = {}
    for mover in moved[:_MAX_FIELDS]:
        for value in [v for v in found.accepted.get(mover, ()) if not isinstance(v, tuple)][1:_FEW_VALUES]:
            there = {mover: value}
            usual = _default_there(found, name, there)
            for other, values in choices.items():
                singly = (_default_there(found, name, {**there, other: v}) for v in values[1:_FEW_VALUES])
                if any(own not in (None, usual) for own in singly):
                    further[other] = None
    return list(further)


def _default_there(found: FieldSurvey, name: str, changes: Mapping[str, Value]) -> Value:
    """The default in a config with these changes, lists left as they are; None where the class refuses it."""
    resolved = found.lab.values(Probe(changes, _DEFAULT, without=name))
    return None if resolved is None else resolved.get(name)


def _beside(found: FieldSurvey, name: str, rows: Sequence[DefaultRow]) -> list[str]:
    """Numbers of the same sub-config that differ among the rows; what moves a default may never have moved alone."""
    names = [n for n in found.base.values if are_beside(n, name) and n != name]
    varied = [n for n in names if is_field(n) and len({repr(values.get(n)) for values, _ in rows}) > 1]
    return [n for n in varied if all(is_number(values.get(n)) for values, _ in rows)][:_MAX_FIELDS]


def _list_rule(
    found: FieldSurvey,
    name: str,
    rows: Sequence[tuple[Mapping[str, Value], tuple[Value, ...]]],
    moved: Sequence[str],
) -> str:
    """`= ['full' if (layer + 1) % period == 0 else 'linear' for layer in range(num_hidden_layers)]`."""
    usual = length_field(found, name)
    rows = [(values, value) for values, value in rows if usual is None or values.get(usual) != 0]
    length = fit_value([(values, len(value)) for values, value in rows], moved[:_MAX_FIELDS])
    if length is None and usual is None:
        raise NoRule(f"the length of its default follows {', '.join(moved)}")
    count = (usual or "") if length is None else say_axis(length)
    if length is None:  # first_k_dense_replace > num_hidden_layers makes a list that is too long
        rows = [(values, value) for values, value in rows if len(value) == values.get(count)]
    items = [(values, i, item) for values, value in rows for i, item in enumerate(value)]
    kinds = list(dict.fromkeys(_text(item) for _, _, item in items))
    if len(kinds) == 1:
        return f"= [{kinds[0]} for layer in range({count})]"
    if len(kinds) > 4:
        numbers = [({**values, "layer": i}, item) for values, i, item in items if is_number(item)]
        fitted = fit_value(numbers, [*moved[:_MAX_FIELDS], "layer"]) if len(numbers) == len(items) else None
        if fitted is None:
            raise NoRule(f"the items of its default follow {', '.join(moved)}")
        return f"= [{say_axis(fitted)} for layer in range({count})]"
    counted = count if count in found.accepted else None
    text = kinds[-1]
    decided: set[str] = {kinds[-1]}
    for kind in reversed(kinds[:-1]):
        decided.add(kind)
        examples = [
            ({**values, "layer": i}, _text(item) == kind)
            for values, i, item in items
            if _text(item) in decided
        ]
        test = _kind_test(examples, [m for m in moved if m != counted], counted)
        if not test:
            raise NoRule(f"the items of its default follow {', '.join(moved)}")
        text = f"{kind} if {test} else {text}"
    return f"= [{text} for layer in range({count})]"


def _kind_test(examples: Sequence[Row], names: Sequence[str], counted: str | None) -> str | None:
    """When an item of a list is of a kind. Where null stands for a number, the test says for which.

    examples: values with the item's place as `layer`, and whether it is of the kind. counted: the list's length.
    """
    test = learn_condition(examples, names, {"layer": counted})
    for name in names:
        seen = [values.get(name) for values, _ in examples]
        if None not in seen or not any(map(is_number, seen)):
            continue
        for number in range(1, _STANDS_FOR):
            filled = [({**v, name: number if v.get(name) is None else v[name]}, own) for v, own in examples]
            plain = learn_condition(filled, names, {"layer": counted})
            if plain and (not test or len(plain) < len(test)):
                said = f"({name} if {name} is not None else {number})"
                return re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", said, plain)
    return test


def _text(item: Value) -> str:
    """An item as an expression has it: lists in brackets."""
    return repr(thaw(item))
