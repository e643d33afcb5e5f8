"""A checkpoint that lacks tensors: what is there counts, and what is not there says nothing.

Elsewhere a count is one more than the largest index, and the absence of a tensor tells that its flag is off. Where
shards are lost, neither follows: the last layers may be among them, and the head. A stated value that explains all that
is stored stays, and the tensors that it demands are named.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from weightsmith.shapes.page.predict import slot_size
from weightsmith.shapes.solve.budget import BUDGET
from weightsmith.shapes.solve.check import most_names, prove
from weightsmith.shapes.solve.fit import matched

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.given.roles import Matching, NameTable, Role
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.check import Proof
    from weightsmith.shapes.solve.fit import Fit

_UNIT = re.compile(r"^[^0-9]*?\.[0-9]+(?=\.)")


def from_what_is_there(found: Fit, table: NameTable) -> Fit:
    """The same family with the stated values that explain all that is stored, and with no count or flag called certain.

    found: the best explanation of a checkpoint that lacks tensors.
    """
    matching = matched(found.page, found.layout, table, found.spelling)
    values = _restored(found.solution.values, matching, found.stated)
    names = prove(matching, values).missing
    left = found.solution.left_open(_by_presence(matching), "tensors are lost")
    solution = replace(left, values=values, proven=False)
    missing = tuple(map(found.spelling.write, names)) if found.spelling else names
    return replace(found, solution=solution, missing=missing)


def _restored(values: Mapping[str, Value], matching: Matching, stated: Stated) -> Mapping[str, Value]:
    """As many of the stated values as explain what is stored, all of them at once where that is possible.

    A head that is stored has told by its numbers whether it is tied.
    """
    before, left = prove(matching, values), BUDGET.spelled
    told = _fields_of_conditions(role for role in matching.roles if role.tensors and role.pattern.copy_of)
    own = {n: v for n, v in stated.completed().items() if values.get(n) != v and n not in told}
    for trial in (own, *({name: value} for name, value in own.items())):
        changed = {**values, **trial}
        names = _names(matching, changed)
        if names > min(left, most_names(matching)):
            continue  # no model: what such a config demands is not spelled out
        left -= names
        if _explains_as_much(prove(matching, changed), before, matching):
            values = changed
            if trial is own:
                break
    return values


def _names(matching: Matching, values: Mapping[str, Value]) -> int:
    """At most so many tensors a config of these values demands."""
    patterns = [role.pattern for role in matching.roles]
    return sum(prod(slot_size(p, place, values) or 1 for place in range(len(p.slots))) for p in patterns)


def _explains_as_much(after: Proof, before: Proof, matching: Matching) -> bool:
    """Whether nothing stored is left over that was not, and what is missing besides may have been lost with the rest.

    A layer is lost whole or was cut by the end of a shard; of one that is whole, no tensor is missing.
    """
    if len(after.misfits) > len(before.misfits) or len(after.unmatched) > len(before.unmatched):
        return False
    stored = _units(role.pattern.name(indices) for role in matching.roles for indices in role.tensors)
    whole = stored - _units(before.missing)
    return not whole & _units(set(after.missing) - set(before.missing))


def _units(names: Iterable[str]) -> frozenset[str]:
    """The layers that tensors lie in (`model.layers.7`); tensors outside of layers are in none."""
    return frozenset(found[0] for name in names if (found := _UNIT.match(name)))


def _by_presence(matching: Matching) -> frozenset[str]:
    """Fields that counts and conditions read: what tensors are there decides about them."""
    counts = (slot.count.fields() for role in matching.roles for slot in role.pattern.slots)
    return _fields_of_conditions(matching.roles).union(*counts)


def _fields_of_conditions(roles: Iterable[Role]) -> frozenset[str]:
    variants = (variant for role in roles for variant in role.pattern.variants)
    return frozenset().union(*(variant.condition.names for variant in variants if variant.condition))
