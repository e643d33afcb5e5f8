"""What a model takes for fields that are null in a config: gpt2's `n_inner` is then `4 * n_embd`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.probe.builder import names
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.page.expression import Polynomial

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.shapes.learn.fit.equation import Equation
    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey

_INDEX = re.compile(r"(?<![^.])[0-9]+(?![^.])")
_NULL = re.compile(r"([\w.]+) is (not )?None")


def counted_nulls(found: FieldSurvey) -> dict[str, Polynomial]:
    """Counts for which the model has a number of its own when they are null: stating it builds the same tensors."""
    rules: dict[str, Polynomial] = {}
    for name in sorted(found.counts):
        for null in [
            o for o in found.lab.observations if o.changed == (name,) and o.values.get(name) is None
        ]:
            if null.origin is not found.base:
                continue
            fresh = names(null) ^ names(found.base)
            likely = {int(index) + 1 for tensor in fresh for index in _INDEX.findall(tensor)}
            number = max(likely, default=0)
            probe = Probe({name: number}, "is this what null stands for?", found.base, (name,))
            stated = found.lab.observe(probe) if number else None
            if stated is not None and stated.tables == null.tables and stated.copies == null.copies:
                rules[name] = Polynomial.constant(number)
    return rules


def null_rules(equations: Iterable[Equation]) -> dict[str, Polynomial]:
    """Field → what stands for null, where every shape that tests it for null agrees on one expression.

    A field that decides whether tensors exist (`q_lora_rank`) has no such expression: null then means none.
    """
    rules: dict[str, Polynomial] = {}
    refused: set[str] = set()
    for equation in equations:
        if len(equation.variants) == 1:
            refused |= {found[1] for found in _NULL.finditer(equation.variants[0][1])}
            continue
        (first, condition), (second, _) = equation.variants[:2]
        tested = _NULL.fullmatch(condition)
        if tested is None or len(equation.variants) > 2 or len(first) != len(second):
            refused |= {found[1] for _, text in equation.variants for found in _NULL.finditer(text)}
            continue
        name = tested[1]
        absent, stated = (second, first) if tested[2] else (first, second)
        for without, with_field in zip(absent, stated, strict=True):
            rule = _stands_for(name, with_field, without)
            if rule is not None and rules.setdefault(name, rule) != rule:
                refused.add(name)
    return {name: rule for name, rule in rules.items() if name not in refused and name not in rule.fields()}


def _stands_for(name: str, stated: Polynomial, absent: Polynomial) -> Polynomial | None:
    """From `heads * head_dim` and `hidden_size`: head_dim stands for `hidden_size // heads`."""
    if len(stated.terms) != 1 or len(absent.terms) != 1:
        return absent if stated == Polynomial.of({(name,): 1}) else None
    (monomial, factor), (other, multiple) = stated.terms[0], absent.terms[0]
    if name not in monomial or multiple % factor:
        return None
    rest, whole = list(monomial), list(other)
    rest.remove(name)
    for atom in list(rest):
        if atom in whole:
            rest.remove(atom)
            whole.remove(atom)
    numerator = Polynomial.of({tuple(whole): multiple // factor})
    return numerator.floor_divided_by(Polynomial.of({tuple(rest): 1})) if rest else numerator
