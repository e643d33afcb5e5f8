"""Observations: configs that were built, the values that their fields really had, and the tensors that came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.reference.config_fields import flatten
from weightsmith.shapes.reference.meta_models import (
    Rejected,
    TimedOut,
    Unanswered,
    build,
    make_config,
    one_line,
)

if TYPE_CHECKING:
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.reference.meta_models import Built, Shapes
    from weightsmith.shapes.reference.untyped import ConfigObject

Settings = Mapping[str, "Value"]

# Builds for one type, each model class by itself, refused ones included. Most types need 200 to 700, the largest
# composite ones about 2,000.
BUILDS = 8_000
# Modules of one model. A model with so many takes 10 to 20 seconds, and no config that is worth building has them.
MODULES = 40_000


class OutOfBudget(Exception):
    """Learning a type took more builds than any type needs."""


@dataclass(slots=True, eq=False)
class BuildObservation:
    """values: every field after the config class has filled in its defaults.

    origin, changed: the observation that this one differs from, by those settings. tables: per model class,
    the tensors on disk. copies: tied duplicates (name → what it repeats).
    """

    settings: Settings
    values: Mapping[str, Value]
    tables: Mapping[str, Shapes]
    copies: Mapping[str, Mapping[str, str]]
    origin: BuildObservation | None
    changed: tuple[str, ...]


@dataclass(slots=True)
class Lab:
    """Builds configs on top of `base` settings and remembers all of them, refusals too.

    hidden: fields that the config class takes and does not keep → their defaults.
    limit: of builds, each model class by itself. endless: settings that are never built, because a class would not
    come to an end with them. timed_out: what ran into the safety net all the same.
    required: settings that no class declares and that nothing builds without.
    followers: lists that cannot be left out and must be as long as a count says: list → (count, its items).
    """

    model_type: str
    architectures: tuple[str, ...]
    base: dict[str, Value] = field(default_factory=dict)
    followers: dict[str, tuple[str, tuple[Value, ...]]] = field(default_factory=dict)
    hidden: dict[str, Value] = field(default_factory=dict)
    required: dict[str, Value] = field(default_factory=dict)
    observations: list[BuildObservation] = field(default_factory=list)
    refusals: list[tuple[Settings, str]] = field(default_factory=list)
    timed_out: list[str] = field(default_factory=list)
    endless: Settings = field(default_factory=dict)
    limit: int = BUILDS
    builds: int = 0
    _seen: dict[str, BuildObservation | None] = field(default_factory=dict)

    def settings(self, changes: Settings) -> dict[str, Value]:
        full = {**self.base, **changes}
        for name, (count, items) in self.followers.items():
            length = full.get(count)
            if name not in changes and isinstance(length, int) and items:
                full[name] = tuple(items[i % len(items)] for i in range(length))
        return full

    def config(self, changes: Settings) -> ConfigObject:
        """The config object of these changes. Raises Rejected."""
        return make_config(self.model_type, self.settings(changes))

    def observe(
        self, changes: Settings, origin: BuildObservation | None = None, changed: tuple[str, ...] = ()
    ) -> BuildObservation | None:
        """None when the reference refuses the config, or gives no answer. Raises OutOfBudget."""
        full = self.settings(changes)
        key = repr(sorted(full.items()))
        if key not in self._seen:
            try:
                observation = self._build(full, origin, changed)
            except Unanswered:
                self._seen[key] = None
            except Rejected as refusal:
                self._seen[key] = None
                self.refusals.append((full, str(refusal)))
            else:
                self._seen[key] = observation
                self.observations.append(observation)
        known = self._seen[key]
        if known is not None and changed and not known.changed and known is not origin:
            known.origin, known.changed = origin, changed  # drawn before, understood now
        return known

    def without(self, name: str, changes: Settings | None = None) -> BuildObservation | None:
        """As `built`, with one setting left out, or one inner config with all that it states."""
        stated = self.settings(changes or {})
        return self._unremembered(
            {n: v for n, v in stated.items() if n != name and not n.startswith(f"{name}.")}
        )

    def built(self, changes: Settings) -> BuildObservation | None:
        """What `changes` build, None when they are refused; not remembered, so that nothing is learned from it."""
        return self._unremembered(self.settings(changes))

    def _unremembered(self, full: Settings) -> BuildObservation | None:
        try:
            return self._build(full, None, ())
        except Rejected:
            return None

    def forget(self, observation: BuildObservation) -> None:
        """Leaves an observation out of what is learned from."""
        self.observations = [o for o in self.observations if o is not observation]

    def _build(
        self, full: Settings, origin: BuildObservation | None, changed: tuple[str, ...]
    ) -> BuildObservation:
        """Raises Rejected, OutOfBudget."""
        if any(full.get(name, ...) == value for name, value in self.endless.items()):
            raise Unanswered("does not come to an end")
        tables: dict[str, Shapes] = {}
        copies: dict[str, Mapping[str, str]] = {}
        values: dict[str, Value] = {}
        for architecture in self.architectures:
            config = make_config(self.model_type, full)  # a fresh one: models change the config that they get
            values = values or {**self.hidden, **_stated(full, self.hidden), **_written(config)}
            built = self._built(architecture, config)
            if any(0 in shape for shape in built.shapes.values()):
                raise Rejected("a tensor without elements")
            tables[architecture], copies[architecture] = built.shapes, built.copies
        return BuildObservation(full, values, tables, copies, origin, changed)

    def _built(self, architecture: str, config: ConfigObject) -> Built:
        """Raises Rejected, OutOfBudget."""
        if self.builds >= self.limit:
            raise OutOfBudget(f"{self.limit} builds did not suffice")
        self.builds += 1
        try:
            return build(architecture, config, modules=MODULES)
        except TimedOut as ended:
            self.timed_out.append(str(ended))
            raise


def _written(config: ConfigObject) -> dict[str, Value]:
    """Every field of a config. Raises Rejected for one that transformers itself cannot write as JSON."""
    try:
        return flatten(config)
    except AttributeError as error:  # a number where an inner config belongs
        raise Rejected(one_line(error)) from error


def _stated(settings: Settings, wanted: Mapping[str, Value]) -> dict[str, Value]:
    return {name: settings[name] for name in wanted if name in settings}


def names(observation: BuildObservation) -> set[str]:
    return {name for table in observation.tables.values() for name in table}


def kinds_of_names(observation: BuildObservation) -> set[str]:
    """The digit-free names: what stays the same when only counts change."""
    return {name_key(name) for name in names(observation)}
