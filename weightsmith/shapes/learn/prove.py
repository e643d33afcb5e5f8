"""A page against an observation: every tensor that the reference writes, and no other, in exactly its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightsmith.shapes.page.expression import evaluate_default
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.page.predict import predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.shapes.learn.probe.builder import BuildObservation
    from weightsmith.shapes.page.expression import Value
    from weightsmith.shapes.page.page import Page


def contradictions(data: dict[str, Any], observation: BuildObservation) -> dict[str, str]:
    """Name pattern (or tensor name) → what is wrong; unexpressed roles are not counted."""
    page = parse_page(data)
    values = completed(page, observation.values)
    wrong: dict[str, str] = {}
    for position, architecture in enumerate(observation.tables):
        layouts = list(page.layouts.values())
        patterns = layouts[position] if len(layouts) > 1 else layouts[0]
        table = dict(observation.tables[architecture])
        for pattern in patterns:
            predicted = predict([pattern], values)
            for name, shape in predicted.items():
                actual = table.pop(name, None)
                if actual != shape:
                    said = "absent" if actual is None else str(list(actual))
                    wrong[pattern.text] = (
                        f"a fresh config contradicts it: {name} is {said}, not {list(shape)}"
                    )
        for name in table:
            if not any(_fits(name, text) for text in page.unexpressed):
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


def _fits(name: str, text: str) -> bool:
    import re

    literals = re.split(r"#|\{[^{}]*\}", text)
    return re.fullmatch(r"\d+".join(map(re.escape, literals)), name) is not None
