"""Counts which values published models have, for the order of guesses: `python -m benchmarks.published.counts`.

Of each model every whole number is counted that shapes show only in a product, or that a rule binds; and what a field
that must divide a size divides it into. Where shapes show hidden_size // num_attention_heads, it is the head width of a
class that has no head_dim, and counts as one.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

from benchmarks.published.models import PublishedModel, groups, read_group
from weightsmith.shapes.family.other_names import canonical
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.page import catalog_types, load_page
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.solve.published_values import FILE, Measure, PublishedValues, quotients

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.shapes.page.page import Page


def all_models() -> list[PublishedModel]:
    return [model for group in groups() for model in read_group(group)]


def count(models: Iterable[PublishedModel]) -> PublishedValues:
    """The counts over the models that the catalog has a page for."""
    counts: dict[str, Counter[int]] = {}
    for model in models:
        for name, value in values_of(model).items():
            counts.setdefault(name, Counter())[value] += 1
    return PublishedValues(counts)


@cache
def without_publisher(owner: str) -> PublishedValues:
    """The counts over all models but those of one publisher, `owner/model` by their names."""
    return count(model for model in all_models() if model.name.partition("/")[0] != owner)


def values_of(model: PublishedModel) -> dict[str, int]:
    """What is counted of one model, by the names that it is counted under."""
    if model.model_type not in catalog_types():
        return {}
    page = load_page(model.model_type)
    values = Stated(canonical(model.config, page), page).completed()
    names = _in_products(page).union(*(rule.names for rule in page.rules))
    found = {m.name: value for m in map(Measure, names) if is_number(value := m.of(values)) and value > 0}
    for measure in quotients(page):
        if is_number(value := measure.of(values)) and value > 0:
            found |= {measure.name: value}
    for quotient, name in _usual_names().items():  # a class has the one or the other
        both = found.get(name) or found.get(quotient)
        found |= {name: both, quotient: both} if both else {}
    return found


def _in_products(page: Page) -> set[str]:
    """Fields that stand beside another one in a product: no tensor shows them alone."""
    patterns = (pattern for layout in page.layouts.values() for pattern in layout)
    axes = (axis for pattern in patterns for variant in pattern.variants for axis in variant.shape)
    products = ([str(atom) for atom in monomial] for axis in axes for monomial, _ in axis.terms)
    return {name for product in products if len(product) > 1 for name in product if name in page.fields}


@cache
def _usual_names() -> dict[str, str]:
    """Quotient → the field that is computed so by default in most of the classes that have such a field."""
    computed = [field for t in catalog_types() for field in load_page(t).fields.values() if field.expression]
    names: dict[str, Counter[str]] = {}
    for field in computed:
        quotient = f"({field.expression})".replace("text_config.", "")
        names.setdefault(quotient, Counter())[Measure(field.name).name] += 1
    return {quotient: counts.most_common(1)[0][0] for quotient, counts in names.items()}


def main() -> None:
    models = all_models()
    counts = {
        name: {str(value): n for value, n in known.most_common()}
        for name, known in sorted(count(models).counts.items())
        if isinstance(known, Counter)
    }
    document = {
        "made_by": "python -m benchmarks.published.counts",
        "source": f"the configs of {len(models)} published models (benchmarks/published/models)",
        "date": date.today().isoformat(),
        "counts": counts,
    }
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
