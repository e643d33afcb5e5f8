"""What a condition asks of each field: compared with which constants, for absence, by position, for membership."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.shapes.page.condition import Condition
    from weightsmith.shapes.page.value import Value


@dataclass(frozen=True, slots=True)
class Reading:
    """constants: literals that stand beside the field in a comparison. optional: it is tested for None.

    indexed: it is a list read by position. members: it is a list searched for a value. counted: it stands in
    arithmetic or in an order comparison, so it is a number. equated: it is compared with something by == or !=.
    """

    constants: frozenset[Value] = frozenset()
    optional: bool = False
    indexed: bool = False
    members: bool = False
    counted: bool = False
    equated: bool = False

    def joined(self, other: Reading) -> Reading:
        return Reading(
            self.constants | other.constants,
            self.optional or other.optional,
            self.indexed or other.indexed,
            self.members or other.members,
            self.counted or other.counted,
            self.equated or other.equated,
        )

    @property
    def listed(self) -> bool:
        return self.indexed or self.members

    @property
    def only_tested(self) -> bool:
        """Whether nothing tells one number of it from another, but perhaps nothing from something."""
        return not (self.counted or self.equated or self.constants)


def readings(conditions: Iterable[Condition]) -> dict[str, Reading]:
    """Per name that any of the conditions reads, all that they ask of it."""
    found: dict[str, Reading] = {}
    for condition in conditions:
        for name, reading in _readings(condition.text):
            found[name] = found.get(name, Reading()).joined(reading)
    return found


@cache
def _readings(text: str) -> tuple[tuple[str, Reading], ...]:
    tree = ast.parse(text.strip(), mode="eval")
    found = [(name, Reading()) for name in _names(tree.body)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found += _compared(node)
        elif isinstance(node, ast.Subscript):
            found += [(name, Reading(indexed=True)) for name in _names(node.value)]
            found += [(name, Reading(counted=True)) for name in _names(node.slice)]
        elif isinstance(node, ast.BinOp):
            found += [(name, Reading(counted=True)) for name in _names(node)]
            numbers = _constants([node.left, node.right])
            found += [(name, Reading(constants=numbers)) for name in _names(node)]
        elif isinstance(node, ast.Call):
            found += [(name, Reading(counted=True)) for argument in node.args for name in _names(argument)]
    return tuple(found)


def _compared(node: ast.Compare) -> list[tuple[str, Reading]]:
    found: list[tuple[str, Reading]] = []
    sides = [node.left, *node.comparators]
    constants = _constants(sides)
    for operator, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(operator, ast.Is | ast.IsNot):
            found += [(name, Reading(optional=True)) for name in _names(node.left)]
        elif isinstance(operator, ast.In | ast.NotIn) and not isinstance(right, ast.List | ast.Tuple):
            found += [(name, Reading(members=True)) for name in _names(right)]
        elif isinstance(operator, ast.Eq | ast.NotEq):
            found += [(name, Reading(equated=True)) for side in sides for name in _names(side)]
        elif isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            found += [(name, Reading(counted=True)) for side in sides for name in _names(side)]
    beside = {name for side in sides for name in _names(side)}
    return found + [(name, Reading(constants=constants)) for name in beside]


def _constants(nodes: Iterable[ast.expr]) -> frozenset[Value]:
    found: set[Value] = set()
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
            found.add(node.value)
        elif isinstance(node, ast.List | ast.Tuple):
            found |= _constants(node.elts)
    return frozenset(found)


def _names(node: ast.AST) -> list[str]:
    """The fields that an expression mentions; the index of a list belongs to itself, not to the expression."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [f"{owner}.{node.attr}" for owner in _names(node.value)]
    if isinstance(node, ast.Subscript):
        return _names(node.value)
    if isinstance(node, ast.Call):
        return [name for argument in node.args for name in _names(argument)]
    return [name for child in ast.iter_child_nodes(node) for name in _names(child)]
