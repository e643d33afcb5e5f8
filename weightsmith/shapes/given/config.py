"""What a config file states, and what it would cost to believe something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.shapes.page.expression import Value
    from weightsmith.shapes.page.page import Page

# The smallest correction wins. A changed value costs 1. A field that the file leaves out, and that would have
# to be added because its class default is wrong, costs a little more: two corrections of one field each are
# otherwise a tie, and changing the wrong number is likelier than forgetting a field. Without a file nothing
# is changed; defaults then only break ties.
CHANGE, ADDITION, UNUSUAL = 1.0, 1.01, 0.1
# A tied head that is stored all the same (or an untied one that shares its bytes) is odd but happens.
ODDITY = 0.5


@dataclass(frozen=True, slots=True)
class Stated:
    """A config as the file has it; `config` None when there is no file."""

    config: Mapping[str, Any] | None
    page: Page

    def has(self, name: str) -> bool:
        """Null stands for the class default where that default is computed from other fields."""
        found, value = lookup(self.config, name)
        if not found and name.endswith("]"):
            return item_of(self.value(owner_of(name)), name) is not None
        field = self.page.fields.get(name)
        return found and not (value is None and field is not None and field.expression is not None)

    def value(self, name: str) -> Value:
        """Also of one element of a list, "widths[3]"."""
        found, value = lookup(self.config, name)
        if not found and name.endswith("]"):
            return item_of(lookup(self.config, owner_of(name))[1], name)
        return value

    def assumed(self, name: str, values: Mapping[str, Value]) -> Value:
        """What a loader takes for a field: the stated value, else the class default given the other fields."""
        if self.has(name):
            return self.value(name)
        if name.endswith("]"):
            return item_of(self.assumed(owner_of(name), values), name)
        if name.startswith("len("):
            items = self.assumed(owner_of(name), values)
            return len(items) if isinstance(items, list | tuple) else None
        field = self.page.fields.get(name)
        return field.default(values) if field else self.page.unverifiable.get(name)

    def completed(self) -> dict[str, Value]:
        """Every field of the page with the value that a loader would take; defaults may build on each other."""
        names = [*self.page.fields, *self.page.unverifiable]
        values: dict[str, Value] = {name: self.value(name) for name in names if self.has(name)}
        for _ in range(3):
            for name in names:
                if values.get(name) is None:
                    values[name] = self.assumed(name, values)
        return values

    def cost(self, fields: Iterable[str], values: Mapping[str, Value]) -> float:
        """How much of the file, and of the class defaults, contradicts `values` for the given fields."""
        total = 0.0
        for name in fields:
            if name not in values:
                continue
            if self.has(name):
                total += CHANGE * (freeze(self.value(name)) != freeze(values[name]))
            elif freeze(self.assumed(name, values)) != freeze(values[name]):
                total += UNUSUAL if self.config is None else ADDITION
        return total

    def list_cost(self, values: Mapping[str, Value]) -> float:
        """The price of contradicting the lists of the file, which lie or are right together (LongRoPE factors)."""
        return CHANGE * any(actual != expected for _, actual, expected in self.list_lengths(values))

    def list_lengths(self, values: Mapping[str, Value]) -> list[tuple[str, int, int]]:
        """(name, length in the file, length that `values` demand) for each list that the file has."""
        found = []
        for name, polynomial in self.page.lists.items():
            stated = lookup(self.config, name)[1]
            expected = polynomial.substitute(values).known()
            if isinstance(stated, list) and expected is not None:
                found.append((name, len(stated), expected))
        return found


def owner_of(name: str) -> str:
    """The list field behind "widths[3]" and "len(widths)"."""
    return name.removeprefix("len(").removesuffix(")").partition("[")[0]


def item_of(items: Value, name: str) -> Value:
    """The element that "widths[3]" means; None where the list is not that long."""
    place = int(name[:-1].rpartition("[")[2])
    return items[place] if isinstance(items, list | tuple) and -len(items) <= place < len(items) else None


def freeze(value: Value) -> Value:
    """Lists as tuples, so that values can be compared and kept in sets."""
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value


def lookup(config: Mapping[str, Any] | None, name: str) -> tuple[bool, Any]:
    """(is it there, its value) for a dotted name."""
    value: Any = config
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def assign(config: dict[str, Any], name: str, value: Value) -> None:
    """Sets a dotted name, making the objects on the way."""
    *path, last = name.split(".")
    for part in path:
        config = config.setdefault(part, {})
    config[last] = value
