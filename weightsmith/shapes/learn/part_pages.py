"""Learns a model that is nothing but models side by side: each by itself, and all of them in one page.

A model that hears, thinks and speaks consists of three, each built from an inner config of its own. The whole has
hundreds of settings, and each of its builds makes every part; learned one by one they are ordinary types. That the
parts are independent is not believed: the joined page is proven on random configs of the whole.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from weightsmith.shapes.learn.learner import LearningResult, learn_surveyed, not_trusted
from weightsmith.shapes.learn.learner import learn as learn_whole
from weightsmith.shapes.learn.names import is_field
from weightsmith.shapes.learn.probe.builder import Lab
from weightsmith.shapes.learn.probe.drawing import draw
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.learn.probe.starting_config import state_required
from weightsmith.shapes.learn.prove import PROOFS, contradictions
from weightsmith.shapes.learn.write.assemble import defaults_of_class
from weightsmith.shapes.learn.write.formatting import say_condition
from weightsmith.shapes.learn.write.learned_page import LearnedPage
from weightsmith.shapes.page.composition import as_part
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.page.value import thaw
from weightsmith.shapes.reference.meta_models import (
    adopted_part,
    architectures,
    config_class,
    version,
)
from weightsmith.shapes.reference.published import published, saving_conversions
from weightsmith.shapes.reference.starting_values import STARTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.learn.probe.probe import BuildObservation, Settings
    from weightsmith.shapes.page.page_file import PageDocument
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.reference.meta_models import Shapes
    from weightsmith.shapes.reference.untyped import Model

_WHOLE = "of which models does it consist?"
# Types with fewer settings are learned whole, which takes no more than minutes.
_MANY_SETTINGS = 200
# The keys of a page that are joined entry by entry.
_TABLES = (
    "fields", "unverifiable", "choices", "base", "lists", "copies", "tensors", "optional", "aliases", "unexpressed",
)  # fmt: skip
_SHAPES = ("tensors", "optional")


@dataclass(frozen=True, slots=True)
class Part:
    """A model in a model. section: the inner config that it is built from. name: its attribute, which its tensors'
    names begin with. model, whole: itself, and what it is in, without data. switch: the flag of the whole without
    which it is not built; "" where it always is."""

    section: str
    name: str
    model: Model
    whole: Model
    switch: str


@dataclass(frozen=True, slots=True)
class LearnedPart:
    """drawn: the settings of random configs of the part, which prove the whole. hidden: settings that no class
    declares → their defaults."""

    part: Part
    result: LearningResult
    drawn: Sequence[Settings]
    hidden: Mapping[str, Value]


def learn(model_type: str) -> LearningResult:
    """The page of a type that transformers has: in parts, where it consists of these and is large.

    Raises Rejected when no config of it can be built, OutOfBudget where the builds do not suffice.
    """
    lab = _lab(model_type)
    parts = None if lab is None else parts_of(lab)
    if lab is None or not parts:
        return learn_whole(model_type)
    return joined(lab, [learn_part(lab, part) for part in parts])


def _lab(model_type: str) -> Lab | None:
    """A lab of the whole; None for a type that is not large, or that has inner configs of any type."""
    inner = config_class(model_type).sub_configs.values()
    if len(inner) < 2 or not all(hasattr(config, "model_type") for config in inner):
        return None
    lab = Lab(model_type, architectures(model_type), base=dict(STARTS.get(model_type, {})))
    default = lab.values(Probe({}, _WHOLE))
    if default is None:
        return None
    if len(default) < _MANY_SETTINGS or len(lab.architectures) != 1:
        return None
    state_required(lab, default)
    return lab


def parts_of(lab: Lab) -> list[Part]:
    """The models that the only class of a type consists of; empty where it has tensors or sizes beside these."""
    whole = lab.model(Probe({}, _WHOLE), lab.architectures[0])
    sections = {cls: name for name, cls in type(whole.config).sub_configs.items()}
    children = {n: m for n, m in whole.named_children() if type(getattr(m, "config", None)) in sections}
    beside = [name for name in whole.state_dict() if name.partition(".")[0] not in children]
    switches = _switches(lab, list(children))
    if beside or len(children) < len(sections) or switches is None:
        return []
    return [Part(sections[type(m.config)], n, m, whole, switches.get(n, "")) for n, m in children.items()]


def _switches(lab: Lab, names: Sequence[str]) -> dict[str, str] | None:
    """Part → the flag of the whole that it is not built without; None where the whole has other settings."""
    base = lab.observe(Probe({}, _WHOLE))
    if base is None:
        return None
    found: dict[str, str] = {}
    for name, value in base.values.items():
        if "." in name or not is_field(name) or not isinstance(value, int):
            continue
        turned = (not value) if isinstance(value, bool) else value + 1
        other = lab.observe(Probe({name: turned}, "does it leave a part out?", base, (name,)))
        if other is None:
            continue
        there = {tensor.partition(".")[0] for tensor in _tensors(other)}
        gone = set(names) - there
        left = {
            tensor: shape for tensor, shape in _tensors(base).items() if tensor.partition(".")[0] in there
        }
        if left != _tensors(other) or (gone and value is not True):
            return None
        found |= dict.fromkeys(gone, name)
    return found


def _tensors(observation: BuildObservation) -> Shapes:
    """Of the only class of a lab."""
    (table,) = observation.tables.values()
    return table


def learn_part(lab: Lab, part: Part) -> LearnedPart:
    """Learns a part as a type of its own, whose tensors are saved as in the whole.

    lab: of the whole. Raises Rejected, OutOfBudget.
    """
    name = f"{lab.model_type}.{part.section}"
    with adopted_part(name, part.model, saving_conversions(part.whole)):
        result, found = learn_surveyed(name)
        rng = random.Random(f"proof of {lab.model_type} with its {part.section}")
        drawn = [
            draw(found, rng, "a part in the proof of the whole", structure_only=i % 4 == 0)
            for i in range(2 * PROOFS)
        ]
    return LearnedPart(part, result, [o.settings for o in drawn if o], found.lab.hidden)


def joined(lab: Lab, parts: Sequence[LearnedPart]) -> LearningResult:
    """The page of the whole, proven on configs of all parts together.

    lab: of the whole.
    """
    builds, seconds = (sum(getattr(p.result, n) for p in parts) for n in ("builds", "seconds"))
    late = tuple(text for p in parts for text in p.result.timed_out)
    missing = [f"{p.part.section}: {p.result.reason}" for p in parts if p.result.page is None]
    if missing:
        return LearningResult(None, "; ".join(missing), seconds, builds, 0, late)
    lab.hidden = {f"{p.part.section}.{name}": value for p in parts for name, value in p.hidden.items()}
    page = _page(lab, parts)
    parsed = parse_page(page.document())
    observed = _drawn(lab, parts)
    wrong: dict[str, str] = {}
    for observation in observed:
        wrong |= contradictions(parsed, observation)
    page = page.without(wrong) if wrong else page
    reason = not_trusted(page, len(observed))
    learned = None if reason else page
    asked = [probe for p in parts for probe in p.result.asked] + lab.asked
    return LearningResult(learned, reason, seconds, builds + lab.builds, len(observed), late, asked)


def _drawn(lab: Lab, parts: Sequence[LearnedPart]) -> list[BuildObservation]:
    """Configs of the whole: a random one of each part beside each other, and flags that leave parts out."""
    rng = random.Random(f"proof of {lab.model_type}")
    found = []
    for _ in range(2 * PROOFS):
        changes: dict[str, Value] = {switch: rng.random() < 0.75 for p in parts if (switch := p.part.switch)}
        for part in parts:
            settings = rng.choice(part.drawn)
            changes |= {f"{part.part.section}.{name}": value for name, value in settings.items()}
        observation = lab.observe(Probe(changes, "random: a proof of the whole"))
        if observation is not None:
            found.append(observation)
        if len(found) == PROOFS:
            break
    return found


def _page(lab: Lab, parts: Sequence[LearnedPart]) -> LearnedPage:
    tables: dict[str, JsonObject] = {key: {} for key in _TABLES}
    rules: list[str] = []
    for one in parts:
        assert one.result.page is not None
        own = cast("PageDocument", one.result.page.document())
        moved = as_part(own, one.part.section, f"{one.part.name}.")
        rules += moved["rules"]
        for key in _TABLES:
            table = cast("dict[str, JsonObject]", moved)[key]
            tables[key] = {**tables[key], **(_switched(table, one.part.switch) if key in _SHAPES else table)}
    # A part knows no other part that has the same setting; of two values the one that another part has is the likelier.
    tables["base"] = {**tables["base"], **{name: thaw(value) for name, value in lab.required.items()}}
    own_defaults = {
        n: v for n, v in defaults_of_class(lab.model_type).items() if "." not in n and is_field(n)
    }
    switches = {p.part.switch for p in parts}
    for name, value in own_defaults.items():
        key = "fields" if name in switches else "unverifiable"
        tables[key] = {**tables[key], name: thaw(value)}
    document = {
        "model_type": lab.model_type,
        "architectures": list(lab.architectures),
        "source": version(),
        "rules": rules,
        "spellings": published(lab.architectures, lab.config(Probe({}, _WHOLE))),
        **tables,
    }
    return LearnedPage.of(cast("PageDocument", document))


def _switched(shapes: JsonObject, switch: str) -> JsonObject:
    """The equations of a part that is there only with a flag."""
    if not switch:
        return shapes
    return {
        name: [_only_with(switch, one) for one in shape]
        if isinstance(shape, list)
        else _only_with(switch, shape)
        for name, shape in shapes.items()
    }


def _only_with(switch: str, shape: Json) -> str:
    axes, _, condition = str(shape).partition(" if ")
    test = say_condition(f"{switch} and ({condition})") if condition else switch
    return f"{axes} if {test}"
