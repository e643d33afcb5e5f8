"""Where learning starts: a config that builds, has few layers and experts, and states every size by itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.names import COUNTS, LAYERS, is_count, is_field, last_of
from weightsmith.shapes.learn.probe.builder import BUILDS, Lab, kinds_of_names, names
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.learn.probe.undeclared import undeclared_settings
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.reference.config_fields import flatten, parts_left_out
from weightsmith.shapes.reference.meta_models import Rejected, architectures
from weightsmith.shapes.reference.source_words import hidden_fields
from weightsmith.shapes.reference.starting_values import ENDLESS, STARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.learn.probe.probe import BuildObservation, Settings
    from weightsmith.shapes.page.value import Value

_MISSED = re.compile(r"AttributeError: '\w+' object has no attribute '(\w+)'")
# A size for a setting that no part of the config has; what a width may be divided by.
_ANY_SIZE = 48


def start(
    model_type: str,
    only: tuple[str, ...] = (),
    limit: int = BUILDS,
    elsewhere: Sequence[Settings] = (),
    before: Lab | None = None,
) -> tuple[Lab, BuildObservation]:
    """A lab with a small base, and its observation.

    only: the model classes; all language models of the type where empty. limit: of builds. elsewhere: changes of the
    base under which undeclared settings are asked for, too. before: a lab of the type whose builds are known. Raises
    Rejected when nothing builds, OutOfBudget.
    """
    lab = _lab(model_type, only, limit, before)
    config = lab.config(Probe({}, "the defaults of the class"))
    default = flatten(config)
    lab.hidden = {n: v for n, v in hidden_fields(config).items() if n not in default}
    state_required(lab, default)
    _with_inner_types(lab, default)
    _with_parts(lab, parts_left_out(config))
    _with_special_ids(lab, default)
    first = _first(lab, default)
    first = _shrink(lab, first, COUNTS)
    first = _explicit(lab, first)
    # An inner config that is left out whole may be refused in parts: its layers are fewer only now.
    first = _shrink(lab, first, COUNTS)
    for name in computed(lab):
        del lab.base[name]
    undeclared = undeclared_settings(lab, [{}, *elsewhere])
    lab.hidden |= undeclared.defaults
    first = _accept(lab, first, dict(undeclared.stated))
    first = _separate(lab, first)
    lab.restart()
    again = lab.observe(Probe({}, "the base"))
    assert again is not None, first
    return lab, again


def _lab(model_type: str, only: tuple[str, ...], limit: int, before: Lab | None) -> Lab:
    """One that has built nothing so far but what `before` knows."""
    classes = only or architectures(model_type)
    if not classes:
        raise Rejected("not in any language-model mapping of transformers")
    lab = Lab(model_type, classes, base=dict(STARTS.get(model_type, {})), limit=limit)
    lab.endless = ENDLESS.get(model_type, {})
    if before is not None:
        lab.know(before)
    return lab


def state_required(lab: Lab, default: Mapping[str, Value]) -> None:
    """States the settings without which nothing builds and that no class declares: published configs have them.

    Each gets the value of the same setting in another part of the config, or a size.
    """
    bare = Probe({}, "does it build by itself?")
    while lab.observe(bare) is None and lab.refusals:
        missed = _MISSED.match(lab.refusals[-1][1])
        last = missed[1] if missed else ""
        required = [n for n in lab.reads(bare) if last_of(n) == last and n not in lab.base]
        if not required:
            return
        alike = (v for n, v in default.items() if last_of(n) == last and is_number(v))
        lab.required[required[-1]] = next(alike, _ANY_SIZE)
        lab.base |= lab.required
        lab.hidden[required[-1]] = None


def _with_inner_types(lab: Lab, default: Mapping[str, Value]) -> None:
    """States the types of inner configs: some classes make no config object of a dict without one (aria)."""
    inner = {n: v for n, v in default.items() if n.endswith(".model_type") and v and n not in lab.base}
    probes = (Probe(changes, "the types of inner configs, stated") for changes in ({}, inner))
    if inner and all(lab.observe(probe) is not None for probe in probes):
        lab.base.update(inner)


def _with_parts(lab: Lab, left_out: Mapping[str, str]) -> None:
    """States the parts of a model that its class builds only where a config has them."""
    for section, model_type in left_out.items():
        stated: dict[str, Value] = {f"{section}.model_type": model_type}
        before, tried = (lab.observe(Probe(c, "a part that may be left out")) for c in ({}, stated))
        if before is not None and tried is not None and names(before) < names(tried):
            lab.base.update(stated)


def _with_special_ids(lab: Lab, default: Mapping[str, Value]) -> None:
    """Sets padding ids to 0: they index the embedding, and 0 lies in every vocabulary that will be tried."""
    for name, value in default.items():
        if name.endswith("pad_token_id") and is_number(value) and value > 0:
            lab.base.setdefault(name, 0)


def _first(lab: Lab, default: Mapping[str, Value]) -> BuildObservation:
    """The class defaults, each class by itself when not all of them build."""
    smaller = {
        n: 4 for n, v in default.items() if is_number(v) and is_field(n) and v > 8 and is_count(n, LAYERS)
    }
    for changes in ({}, smaller):
        observation = lab.observe(Probe(changes, "the defaults of the class"))
        if observation is not None:
            lab.base.update(changes)
            return observation
    whole = lab.architectures
    for architecture in whole:
        lab.architectures = (architecture,)
        observation = lab.observe(Probe({}, "one class by itself"))
        if observation is not None:
            return observation
    raise Rejected(lab.refusals[0][1] if lab.refusals else "no answer to any of its first configs")


def _shrink(lab: Lab, first: BuildObservation, hints: Iterable[re.Pattern[str]]) -> BuildObservation:
    """Lowers the numbers of experts, then of layers, as long as every kind of tensor is still there."""
    for hint in hints:
        counts = [n for n, v in first.values.items() if is_field(n) and is_number(v) and v > 4]
        for name in counts:
            usual = first.values.get(name)
            if not is_count(name, hint) or not is_number(usual):
                continue
            for small in (4, 5, 6, 8, 10, 12, 16):
                if small >= usual:
                    break
                tried = _resized(lab, first, name, small)
                if (
                    tried
                    and len(names(tried)) < len(names(first))
                    and (kinds_of_names(tried) == kinds_of_names(first))
                ):
                    lab.base[name] = small
                    first = tried
                    break
                if tried and names(tried) == names(first):
                    break
    return first


def _resized(lab: Lab, first: BuildObservation, name: str, small: int) -> BuildObservation | None:
    """The base with another count; lists of the count's length go with it when the class does not see to that."""
    probe = Probe({name: small}, "a smaller base")
    tried = lab.observe(probe)
    if tried is not None:
        return tried
    count = first.values[name]
    lists = {
        n: (name, v)
        for n, v in first.values.items()
        if isinstance(v, tuple) and len(v) == count and n not in lab.followers and is_field(n)
    }
    if not lists:
        return None
    lab.followers.update(lists)
    tried = lab.observe(probe)
    if tried is None:
        for listed in lists:
            del lab.followers[listed]
    return tried


def _explicit(lab: Lab, first: BuildObservation) -> BuildObservation:
    """States every number and flag, so that no field follows another one unnoticed."""
    stated = {
        n: v for n, v in first.values.items() if n not in lab.base and isinstance(v, int) and is_field(n)
    }
    return _accept(lab, first, stated)


def computed(lab: Lab) -> list[str]:
    """Numbers that the class computes whatever a config states; what a config says of them is no fact."""
    return [
        name
        for name, value in lab.base.items()
        if is_number(value)
        and is_field(name)
        and all(_made_anew(lab, name, other) for other in (2 * value + 2, value + 1, value // 2))
    ]


def _made_anew(lab: Lab, name: str, other: int) -> bool:
    values = lab.values(Probe({name: other}, "is it computed anew?"))
    return values is not None and bool(values.get(name) == lab.base[name] != other)


def _accept(lab: Lab, first: BuildObservation, stated: Mapping[str, Value]) -> BuildObservation:
    """Takes as many of the settings as leave tensors and values as they are, halving where they do not."""
    if not stated:
        return first
    tried = lab.observe(Probe(dict(stated), "the same, stated"))
    if (
        tried is not None
        and tried.tables == first.tables
        and all(tried.values.get(n) == v for n, v in stated.items())
    ):
        lab.base.update(stated)
        return tried
    if len(stated) == 1:
        return first
    items = list(stated.items())
    for half in (items[: len(items) // 2], items[len(items) // 2 :]):
        first = _accept(lab, first, dict(half))
    return first


def _separate(lab: Lab, first: BuildObservation) -> BuildObservation:
    """Gives sizes that are equal by chance different values: equal ones hide comparisons and minima."""
    for name in list(lab.base):
        value = lab.base[name]
        taken = {v for n, v in lab.base.items() if n != name and is_number(v) and is_field(n)}
        if not is_number(value) or not is_field(name) or value < 16 or value not in taken:
            continue
        for other in (3 * value, 2 * value, 5 * value, 6 * value, value // 2, 7 * value, value + 2):
            if other in taken:
                continue
            tried = lab.observe(Probe({name: other}, "sizes that are equal by chance, apart"))
            if tried is not None and kinds_of_names(tried) == kinds_of_names(first):
                lab.base[name] = other
                first = tried
                break
    return first
