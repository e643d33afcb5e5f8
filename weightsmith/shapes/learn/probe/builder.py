"""Observations: configs that were built, the values that their fields really had, and the tensors that came out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.page.page import name_key
from weightsmith.shapes.reference.config_fields import flatten
from weightsmith.shapes.reference.meta_models import Rejected, build, make_config, one_line

if TYPE_CHECKING:
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.reference.meta_models import Shapes
    from weightsmith.shapes.reference.untyped import ConfigObject

Settings = Mapping[str, "Value"]


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
    deadline: in seconds of this process's own computing, so that a busy machine does not cut learning short.
    followers: lists that cannot be left out and must be as long as a count says: list → (count, its items).
    """

    model_type: str
    architectures: tuple[str, ...]
    base: dict[str, Value] = field(default_factory=dict)
    followers: dict[str, tuple[str, tuple[Value, ...]]] = field(default_factory=dict)
    hidden: dict[str, Value] = field(default_factory=dict)
    observations: list[BuildObservation] = field(default_factory=list)
    refusals: list[tuple[Settings, str]] = field(default_factory=list)
    deadline: float = float("inf")
    builds: int = 0
    _seen: dict[str, BuildObservation | None] = field(default_factory=dict)
    # Fields of which a 0 ran into the time limit of a build: a loop that never ends does not end elsewhere, either.
    _endless: set[str] = field(default_factory=set)

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
        """None when the reference refuses the config. Raises TimeoutError past the deadline."""
        self.check_time()
        full = self.settings(changes)
        key = repr(sorted(full.items()))
        zeroed = {name for name in changed if type(full.get(name)) is int and not full[name]}
        if key not in self._seen and zeroed & self._endless:
            self._seen[key] = None
        if key not in self._seen:
            try:
                observation = self._build(full, origin, changed)
            except Rejected as refusal:
                self._seen[key] = None
                self.refusals.append((full, str(refusal)))
                if len(changed) == len(zeroed) and str(refusal).startswith("TimeoutError"):
                    self._endless |= zeroed
            else:
                self._seen[key] = observation
                self.observations.append(observation)
        known = self._seen[key]
        if known is not None and changed and not known.changed and known is not origin:
            known.origin, known.changed = origin, changed  # drawn before, understood now
        return known

    def without(self, name: str, changes: Settings | None = None) -> BuildObservation | None:
        """As `built`, with one setting left out."""
        return self._unremembered({n: v for n, v in self.settings(changes or {}).items() if n != name})

    def built(self, changes: Settings) -> BuildObservation | None:
        """What `changes` build, None when they are refused; not remembered, so that nothing is learned from it."""
        return self._unremembered(self.settings(changes))

    def _unremembered(self, full: Settings) -> BuildObservation | None:
        self.check_time()
        try:
            return self._build(full, None, ())
        except Rejected:
            return None

    def forget(self, observation: BuildObservation) -> None:
        """Leaves an observation out of what is learned from."""
        self.observations = [o for o in self.observations if o is not observation]

    def check_time(self) -> None:
        if time.process_time() > self.deadline:
            raise TimeoutError("learning took too long")

    def _build(
        self, full: Settings, origin: BuildObservation | None, changed: tuple[str, ...]
    ) -> BuildObservation:
        tables: dict[str, Shapes] = {}
        copies: dict[str, Mapping[str, str]] = {}
        values: dict[str, Value] = {}
        for architecture in self.architectures:
            config = make_config(self.model_type, full)  # a fresh one: models change the config that they get
            values = values or {**self.hidden, **_stated(full, self.hidden), **_written(config)}
            built = build(architecture, config)
            self.builds += 1
            if any(0 in shape for shape in built.shapes.values()):
                raise Rejected("a tensor without elements")
            tables[architecture], copies[architecture] = built.shapes, built.copies
        return BuildObservation(full, values, tables, copies, origin, changed)


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
