"""What a config file states, or the user sets, and what it would cost to believe something else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import parse_polynomial
from weightsmith.shapes.page.field_names import At, Length, item_of, length_of, owner_of
from weightsmith.shapes.page.runs import spelled_length
from weightsmith.shapes.page.value import freeze, is_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.expression import Polynomial
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value

# The smallest correction wins. A changed value costs 1. A field that the file leaves out, and that would have
# to be added because its class default is wrong, costs a little more: two corrections of one field each are
# otherwise a tie, and changing the wrong number is likelier than forgetting a field. Without a file nothing
# is changed; defaults then only break ties.
CHANGE, ADDITION, UNUSUAL = 1.0, 1.01, 0.1
# What the user sets is given up last of all, and that is an error.
GIVEN = 1_000.0
# A tied head that is stored all the same (or an untied one that shares its bytes) is odd but happens.
ODDITY = 0.5


@dataclass(frozen=True, slots=True)
class Stated:
    """A config as its class reads it: what the file has, with what the user sets in its place.

    config: None when there is neither. user_set: the names that the user sets. file: False when there is no file.
    """

    config: JsonObject | None
    page: Page
    user_set: frozenset[str] = frozenset()
    file: bool = True
    _frozen: dict[str, Value] = field(default_factory=dict, compare=False, repr=False)
    _completed: dict[str, Value] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def by_user(config: JsonObject | None, page: Page, given: Mapping[str, Json]) -> Stated:
        """The file's config under the page's names, with the settings that the user gives under these names."""
        if not given:
            return Stated(config, page)
        whole = with_values(config or {}, given)
        return Stated(whole, page, frozenset(given), file=config is not None)

    @property
    def no_file(self) -> bool:
        """Whether nothing but what the user sets is stated."""
        return self.config is None or not self.file

    def has(self, name: str) -> bool:
        """Whether the file states a field, or an item of a list field.

        Null stands for the class default where that default is computed from other fields.
        """
        found, value = lookup(self.config, name)
        if not found and isinstance(name, At):
            return item_of(self.value(name.owner), name.place) is not None
        declared = self.page.fields.get(name)
        return found and not (value is None and declared is not None and declared.expression is not None)

    def value(self, name: str) -> Value:
        """What the file states for a field, or for an item of a list field; None where it states nothing."""
        if name not in self._frozen:
            self._frozen[name] = self._value(name)
        return self._frozen[name]

    def _value(self, name: str) -> Value:
        found, value = lookup(self.config, name)
        if not found and isinstance(name, At):
            value = item_of(self.value(name.owner), name.place)
        return freeze(value)

    def assumed(self, name: str, values: Mapping[str, Value]) -> Value:
        """What a loader takes for a field: the stated value, else the class default given the other fields."""
        if self.has(name):
            return self.value(name)
        match name:
            case At(owner=owner, place=place):
                return item_of(self.assumed(owner, values), place)
            case Length(owner=owner):
                return length_of(self.assumed(owner, values))
        declared = self.page.fields.get(name)
        return declared.default(values) if declared else self.page.unverifiable.get(name)

    def completed(self) -> Mapping[str, Value]:
        """Every field of the page with the value that a loader would take; defaults may build on each other."""
        if not self._completed:
            self._completed.update(self._loaded())
        return self._completed

    def _loaded(self) -> dict[str, Value]:
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
                price = GIVEN if owner_of(name) in self.user_set else CHANGE
                total += price * (self.value(name) != values[name])
            elif self.assumed(name, values) != values[name]:
                total += UNUSUAL if self.no_file else ADDITION
        return total

    def list_cost(self, values: Mapping[str, Value]) -> float:
        """The price of contradicting the lists of the file. They are right or wrong together (LongRoPE factors)."""
        return CHANGE * any(actual != expected for _, actual, expected in self.list_lengths(values))

    def list_lengths(self, values: Mapping[str, Value]) -> list[tuple[str, int, int]]:
        """(name, length in the file, length that `values` demand) for each list that the file has."""
        found = []
        for name, length in self._counted_lists():
            items = lookup(self.config, name)[1]
            expected = length.at(values) if isinstance(items, list | tuple) else None
            if (
                isinstance(items, list | tuple)
                and expected is not None
                and not _names_places(items, expected)
            ):
                found.append((name, spelled_length(items), expected))
        return found

    def _counted_lists(self) -> Iterator[tuple[str, Polynomial]]:
        """Lists, and what their lengths are in every valid config."""
        yield from self.page.lists.items()
        # transformers reads this list for every family, and refuses another length than that of the layers.
        for prefix in ("", "text_config."):
            if f"{prefix}layer_types" not in self.page.lists:
                yield f"{prefix}layer_types", parse_polynomial(f"{prefix}num_hidden_layers")


def _names_places(items: Sequence[Json], length: int) -> bool:
    """Whether a list names some of `length` places by their numbers, so that it may be shorter."""
    if len(items) >= length:
        return False
    return len({item for item in items if is_number(item) and 0 <= item < length}) == len(items)


def lookup(config: JsonObject | None, name: str) -> tuple[bool, Json]:
    """(is it there, its value as the file has it) for a dotted name."""
    value: Json = config
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def assign(config: dict[str, Json], name: str, value: Json) -> None:
    """Sets a dotted name, making the objects on the way; what stands in their place and is none gives way.

    Only `config` itself is changed: an object on the way is copied, and stays what it is for its other readers.
    """
    *path, last = name.split(".")
    for part in path:
        config = _own_object(config, part)
    config[last] = value


def _own_object(config: dict[str, Json], name: str) -> dict[str, Json]:
    """The object of that name, replaced by a copy that may be changed; by an empty one where there is none."""
    stated = config.get(name)
    own = dict(stated) if isinstance(stated, dict) else {}
    config[name] = own
    return own


def with_values(config: JsonObject, values: Mapping[str, Json]) -> dict[str, Json]:
    """A copy of the config with other values under dotted names; what these leave alone is shared, not copied."""
    whole = dict(config)
    for name, value in values.items():
        assign(whole, name, value)
    return whole


def take_out(config: dict[str, Json], name: str) -> None:
    """Takes a dotted name out; what is not there stays absent."""
    *path, last = name.split(".")
    if lookup(config, name)[0]:
        for part in path:
            config = _own_object(config, part)
        del config[last]
