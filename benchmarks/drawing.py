"""Random valid configs of any model type, and lies about them: what `make bench-shapes` is measured on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.given.draft_layers import COUNTS
from weightsmith.shapes.page.condition_uses import readings
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.page.value import freeze, is_number, thaw
from weightsmith.shapes.reference.config_fields import flatten
from weightsmith.shapes.reference.meta_models import Rejected, build, config_class, make_config
from weightsmith.shapes.reference.starting_values import STARTS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value

_MOVED = re.compile(r"moved by ([\w., -]+)")
MAX_BUILDS = 40
DRAWS = 8


@dataclass(frozen=True, slots=True)
class Case:
    """config: as transformers writes it. values: every page field as the class fills it in. shapes: the truth."""

    config: Mapping[str, Any]
    values: Mapping[str, Value]
    shapes: Mapping[str, tuple[int, ...]]
    varied: int


def shape_bearing(page: Page) -> list[str]:
    """The fields of the page, and those that move tensors which the page says it cannot express."""
    more = (found[1].split(", ") for why in page.unexpressed.values() if (found := _MOVED.search(why)))
    return list(dict.fromkeys([*page.fields, *(name.strip() for names in more for name in names)]))


def reference(page: Page, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """What transformers builds from a config file's content. Raises Rejected."""
    try:
        made = config_class(page.model_type).from_dict(dict(config))
    except Rejected:
        raise
    except Exception as error:
        raise Rejected(f"{type(error).__name__}: {error}") from error
    return build(page.architectures[0], made).shapes


def draw(page: Page, rng: random.Random) -> Case | None:
    """A config in which as many fields as possible have a value of their own; None when nothing builds."""
    start = {**STARTS.get(page.model_type, {}), **page.base}
    defaults = flatten(make_config(page.model_type, start))
    defaults |= _undeclared(page, defaults)
    # transformers writes no draft layers: a config that is true of what it writes counts none.
    start |= {name: 0 for name in defaults if name.rpartition(".")[2] in COUNTS}
    builds = [0]

    def attempt(settings: Mapping[str, Value]) -> Case | None:
        builds[0] += 1
        try:
            made = make_config(page.model_type, {**start, **settings})
            shapes = build(page.architectures[0], made, 10.0).shapes
        except Rejected:
            return None
        config = json.loads(json.dumps(made.to_diff_dict(), default=str))
        config |= {"model_type": page.model_type, "architectures": [page.architectures[0]]}
        values = flatten(make_config(page.model_type, {**start, **settings}))
        if not shapes or any(0 in shape for shape in shapes.values()):
            return None
        return Case(config, {n: values[n] for n in shape_bearing(page) if n in values}, shapes, len(settings))

    for _ in range(DRAWS):
        drawn = _settings(page, defaults, rng)
        settings = {name: value for name, value in drawn.items() if name.rpartition(".")[2] not in COUNTS}
        case = attempt(settings)
        if case:
            return case

    def runnable(settings: Mapping[str, Value]) -> Case | None:
        return attempt(settings) if _obeys(page, {**defaults, **settings}) else None

    return _accepted(runnable, settings, builds) or attempt({})


def _undeclared(page: Page, defaults: Mapping[str, Value]) -> dict[str, Value]:
    """Sizes that a class takes without declaring them, as the width of a head, at what the model takes for them.

    Left to follow from what is drawn, 120 heads of a width of 120 would be one channel wide, which no model is.
    """
    sections = {name.rpartition(".")[0] for name in defaults}
    missing = [n for n in page.fields if n not in defaults and n.rpartition(".")[0] in sections]
    taken = {name: page.fields[name].default(defaults) for name in missing}
    return {name: value for name, value in taken.items() if is_number(value) and value > 0}


def _accepted(attempt: Any, settings: dict[str, Value], builds: list[int]) -> Case | None:
    """As many of the settings as build together, found by halving.

    Parts of settings that were drawn as multiples of each other are multiples no more: 16 heads over 12 key-value
    heads build, and cannot run a forward pass.
    """
    kept: dict[str, Value] = {}
    case: Case | None = None
    queue = [list(settings.items())]
    while queue and builds[0] < MAX_BUILDS:
        part = queue.pop(0)
        tried = attempt({**kept, **dict(part)})
        if tried:
            kept.update(part)
            case = tried
        elif len(part) > 1:
            queue += [part[: len(part) // 2], part[len(part) // 2 :]]
    return case


def _settings(page: Page, defaults: Mapping[str, Value], rng: random.Random) -> dict[str, Value]:
    patterns = [pattern for layout in page.layouts.values() for pattern in layout]
    asked = readings(v.condition for p in patterns for v in p.variants if v.condition)
    counts = {f for p in patterns for slot in p.slots for f in slot.count.fields()}
    drawn: dict[str, Value] = {}
    # Where a class computes one field once another is stated, stating that other by hand makes no valid config.
    guards = {computed.when_configured for computed in page.computed.values()}
    for name in shape_bearing(page):
        if name not in defaults or name in guards:
            continue
        value = defaults[name]
        reading = asked.get(name)
        constants = sorted((c for c in reading.constants), key=str) if reading else []
        if isinstance(value, bool):
            drawn[name] = rng.random() < 0.5
        elif isinstance(value, str):
            words = [c for c in constants if isinstance(c, str)]
            drawn[name] = rng.choice([value, *words])
        elif (reading and reading.listed) or isinstance(value, tuple):
            continue
        elif (value is None and reading and reading.optional and rng.random() < 0.4) or (
            value is not None and reading and reading.optional and rng.random() < 0.2
        ):
            drawn[name] = None
        elif name in counts:
            drawn[name] = rng.randrange(2, 8)
        elif reading and reading.counted:
            drawn[name] = rng.randrange(0 if value == 0 else 1, 6)
        elif isinstance(value, int):
            drawn[name] = _size(value, rng)
    _obey(page, drawn, defaults, rng)
    drawn |= _lists(page, {**defaults, **drawn}, asked, rng)
    return drawn


def _size(value: int, rng: random.Random) -> int:
    if value <= 16:
        return rng.choice([1, 2, 3, 4, 6, 8, 12, 16])
    return rng.choice([8, 16, 24, 32, 48, 64, 80, 96, 120, 160, 192, 256, 4 * rng.randrange(3, 90)])


def _obey(page: Page, drawn: dict[str, Value], defaults: Mapping[str, Value], rng: random.Random) -> None:
    """Multiples where a rule wants multiples; the reference itself judges the rest."""
    for _ in range(6):
        for multiple, divisor in page.divisors:
            values = {**defaults, **drawn}
            number, by = multiple.substitute(values).known(), values.get(divisor)
            if not (isinstance(number, int) and isinstance(by, int) and by) or number % by == 0:
                continue
            (field, *rest) = sorted(multiple.fields())
            if not rest and field in drawn:
                drawn[field] = by * rng.choice([1, 2, 3, 4, 8])
            elif divisor in drawn:
                drawn[divisor] = rng.choice([d for d in range(1, by + 1) if number % d == 0])


def _obeys(page: Page, values: Mapping[str, Value]) -> bool:
    for multiple, divisor in page.divisors:
        number, by = multiple.substitute(values).known(), values.get(divisor)
        if isinstance(number, int) and isinstance(by, int) and by and number % by:
            return False
    return True


def _lists(
    page: Page, values: Mapping[str, Value], asked: Mapping[str, Any], rng: random.Random
) -> dict[str, Value]:
    drawn: dict[str, Value] = {}
    for name, field in page.fields.items():
        value = values.get(name)
        reading = asked.get(name)
        length = page.lists[name].substitute(values).known() if name in page.lists else None
        if not (isinstance(value, tuple) or (reading and reading.listed)):
            continue
        kinds = [c for c in sorted(reading.constants, key=str) if isinstance(c, str)] if reading else []
        items = value if isinstance(value, tuple) else field.value if isinstance(field.value, tuple) else []
        kinds = list(dict.fromkeys([*kinds, *(i for i in items if isinstance(i, str))]))
        if kinds and length:
            drawn[name] = tuple(rng.choice(kinds) for _ in range(length))
        elif reading and reading.members and length is None:
            top = _layers_beside(name, values)
            drawn[name] = tuple(sorted(rng.sample(range(top), k=rng.randrange(0, top))))
        elif items and all(isinstance(i, int) for i in items):
            drawn[name] = tuple(
                i * rng.choice([1, 2, 3]) for i in (list(items) * (length or 1))[: length or len(items)]
            )
    return drawn


def _layers_beside(name: str, values: Mapping[str, Value]) -> int:
    """How many layers a list of layers can name: those of its own stack.

    The count of another sub-config would name layers that are not there: deepseek_vl_hybrid builds with such a list,
    and its forward pass asks for the hidden states of a layer that it does not have.
    """
    counts = {n: v for n, v in values.items() if n.endswith("num_hidden_layers") and isinstance(v, int)}
    own = f"{name.rpartition('.')[0]}.num_hidden_layers".lstrip(".")
    return counts.get(own, next(iter(counts.values()), 2))


def without_fields(page: Page, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every shape-bearing field removed; with it what transformers 5 writes of these per layer.

    `per_layer_config` repeats sizes of single layers, made from the fields: left in, it would tell them, and overrule
    every other answer that explains the tensors as well (which of two kinds of layers is called sliding).
    """
    stripped = json.loads(json.dumps(config))
    for part in (stripped, *(inner for inner in stripped.values() if isinstance(inner, dict))):
        part.pop("per_layer_config", None)
    for name in shape_bearing(page):
        *path, last = name.split(".")
        owner: Any = stripped
        for part in path:
            owner = owner.get(part) if isinstance(owner, dict) else None
        if isinstance(owner, dict):
            owner.pop(last, None)
    return stripped


def corrupted(
    page: Page, layout: str, case: Case, rng: random.Random
) -> tuple[dict[str, Any], dict[str, Value]] | None:
    """(a config with one to three lies, the lies), each of which alone would change the tensors."""
    patterns = page.layouts[layout]
    # A head that is stored though tied is an oddity, not a contradiction: tying it alone is no lie to be found.
    copies = {pattern.text for pattern in patterns if pattern.copy_of}

    def tensors(values: Mapping[str, Value]) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in predict(patterns, values).items() if name not in copies}

    truth = tensors(case.values)
    wanted = rng.randrange(1, 4)
    lies: dict[str, Value] = {}
    for name in rng.sample(sorted(case.values), k=len(case.values)):
        stated, _ = lookup(case.config, name)
        if not stated:
            continue
        for lie in _lies(case.values[name], rng):
            if freeze(lie) == freeze(case.values[name]):
                continue
            if tensors({**case.values, name: lie}) != truth:
                lies[name] = lie
                break
        if len(lies) == wanted:
            break
    if not lies or tensors({**case.values, **lies}) == truth:
        return None  # several lies may be one truth together
    config = json.loads(json.dumps(case.config))
    for name, lie in lies.items():
        *path, last = name.split(".")
        owner = config
        for part in path:
            owner = owner[part]
        owner[last] = thaw(lie)
    return config, lies


def _lies(value: Value, rng: random.Random) -> Iterator[Value]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        candidates = [2 * value, value + rng.randrange(1, 6), max(1, value // 2), 2 * value + 3, 1]
        rng.shuffle(candidates)
        yield from candidates
    elif isinstance(value, tuple) and value:
        other = list(value)
        place = rng.randrange(len(other))
        rest = [item for item in value if item != other[place]]
        if rest:
            other[place] = rng.choice(rest)
            yield tuple(other)
        yield value[:-1]
