"""A page against the reference: every tensor that it writes, and no other, in exactly its shape."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.probe.drawing import draw
from weightsmith.shapes.page.expression import evaluate_default
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.page.predict import predict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.learn.fit.sightings import Shape
    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.learn.probe.probe import BuildObservation
    from weightsmith.shapes.learn.write.learned_page import LearnedPage
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.pattern import TensorPattern
    from weightsmith.shapes.page.value import Value

# A page stands when it reproduces this many configs that it has never seen.
PROOFS = 10


@dataclass(frozen=True, slots=True)
class PageProof:
    """configs: how many that the page has never seen were built. wrong: name → how one of them contradicts it."""

    configs: int
    wrong: Mapping[str, str]


def prove(page: LearnedPage, found: FieldSurvey, attempt: int) -> PageProof:
    """Compares the page with fresh configs, drawn from a seed of its own for every attempt."""
    rng = random.Random(f"proof {attempt} of {found.lab.model_type}")
    parsed = parse_page(page.document())
    known = {id(o) for o in found.lab.observations}
    configs = 0
    wrong: dict[str, str] = {}
    for i in range(4 * PROOFS):
        observation = draw(found, rng, "a proof of the page", structure_only=i % 4 == 0)
        if observation is None or id(observation) in known:
            continue
        known.add(id(observation))
        configs += 1
        wrong |= contradictions(parsed, observation)
        if configs >= PROOFS:
            break
    return PageProof(configs, wrong)


def contradictions(page: Page, observation: BuildObservation) -> dict[str, str]:
    """Name pattern (or tensor name) → what is wrong; unexpressed roles are not counted."""
    values = completed(page, observation.values)
    layouts = list(page.layouts.values())
    wrong: dict[str, str] = {}
    for position, table in enumerate(observation.tables.values()):
        patterns = layouts[position] if len(layouts) > 1 else layouts[0]
        wrong |= _contradicted(page, patterns, table, values)
    return wrong


def _contradicted(
    page: Page, patterns: Sequence[TensorPattern], table: Mapping[str, Shape], values: Mapping[str, Value]
) -> dict[str, str]:
    """What one model class has that its layout of the page does not say, or says otherwise."""
    left = dict(table)
    wrong: dict[str, str] = {}
    for pattern in patterns:
        for name, shape in predict([pattern], values).items():
            actual = left.pop(name, None)
            if actual != shape:
                said = "absent" if actual is None else str(list(actual))
                wrong[pattern.text] = f"a fresh config contradicts it: {name} is {said}, not {list(shape)}"
    for name in left:
        if not any(_is_named_by(name, text) for text in page.unexpressed):
            owner = next((p.text for p in patterns if p.required and p.regex().fullmatch(name)), name)
            wrong[owner] = f"a fresh config contradicts it: {name} exists"
    return wrong


def completed(page: Page, values: Mapping[str, Value]) -> dict[str, Value]:
    """Fields that are null in the config and computed by the model itself."""
    full = dict(values)
    for name, field in page.fields.items():
        if full.get(name) is None and field.expression is not None:
            full[name] = evaluate_default(field.expression, full)
    return full


def _is_named_by(tensor: str, text: str) -> bool:
    """Whether a tensor's name fits a pattern's text or a digit-free name."""
    literals = re.split(r"#|\{[^{}]*\}", text)
    return re.fullmatch(r"[0-9]+".join(map(re.escape, literals)), tensor) is not None
