"""The one place where the learner builds: every probe is asked here, answered once, and noted with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.probe.probe import Answer, Asked, BuildObservation, Probe, told
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.reference.config_fields import flatten
from weightsmith.shapes.reference.meta_models import (
    Rejected,
    TimedOut,
    Unanswered,
    build,
    make_config,
    model_on_meta,
    one_line,
)
from weightsmith.shapes.reference.undeclared_reads import undeclared_reads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import Json
    from weightsmith.shapes.learn.probe.probe import Settings
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.reference.meta_models import Built, Shapes
    from weightsmith.shapes.reference.untyped import ConfigObject, Model

# Builds for one type, each model class by itself, refused ones included. Most types need 200 to 700, the largest
# composite ones about 2,000.
BUILDS = 8_000
# Modules of one model. A model with so many takes 10 to 20 seconds, and no config that is worth building has them.
MODULES = 40_000


class OutOfBudget(Exception):
    """Learning a type took more builds than any type needs."""


@dataclass(slots=True)
class Lab:
    """Builds configs on top of `base` settings. Equal configs are built once; what was asked is noted in `asked`.

    observations, refusals: what is learned from. hidden: fields that the config class takes and does not keep → their
    defaults. limit: of builds, each model class by itself. endless: settings that are never built, because a class
    would not come to an end with them. timed_out: what ran into the safety net all the same.
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
    asked: list[Asked] = field(default_factory=list)
    _answers: dict[str, Answer] = field(default_factory=dict)
    _seen: dict[str, BuildObservation | None] = field(default_factory=dict)

    def settings(self, changes: Settings) -> dict[str, Value]:
        full = {**self.base, **changes}
        for name, (count, items) in self.followers.items():
            length = full.get(count)
            if name not in changes and isinstance(length, int) and items:
                full[name] = tuple(items[i % len(items)] for i in range(length))
        return full

    def observe(self, probe: Probe) -> BuildObservation | None:
        """What a probe builds, to be learned from. None when the reference refuses the config, or gives no answer.

        Raises OutOfBudget.
        """
        full = self._stated(probe)
        key = self._key(full)
        if key not in self._seen:
            answer = self._answer(probe, full, key)
            self._seen[key] = observation = self._observation(answer, full, probe)
            if observation is not None:
                self.observations.append(observation)
            elif answer.refusal and not answer.given_up:
                self.refusals.append((full, answer.refusal))
        known, changed = self._seen[key], probe.changed
        if known is not None and changed and not known.changed and known is not probe.origin:
            known.origin, known.changed = probe.origin, changed  # drawn before, understood now
        return known

    def built(self, probe: Probe) -> BuildObservation | None:
        """What a probe builds, None when it is refused. Nothing else is learned from it. Raises OutOfBudget."""
        full = self._stated(probe)
        return self._observation(self._answer(probe, full, self._key(full)), full, Probe({}, probe.why))

    def values(self, probe: Probe) -> dict[str, Value] | None:
        """Every field as the config class fills it in, without any model; None where the class refuses the config."""
        return class_values(self.model_type, self._stated(probe))

    def config(self, probe: Probe) -> ConfigObject:
        """The config object of a probe. Raises Rejected."""
        return make_config(self.model_type, self._stated(probe))

    def reads(self, probe: Probe) -> dict[str, frozenset[str]]:
        """The names that the model classes ask the config for in vain → the lines that ask.

        Raises OutOfBudget.
        """
        found: dict[str, frozenset[str]] = {}
        for architecture in self.architectures:
            try:
                config = self.config(probe)
            except Rejected:
                continue
            self._count()
            for name, lines in undeclared_reads(architecture, config).items():
                found[name] = found.get(name, frozenset()) | lines
        self._note(probe, f"asked for {', '.join(found) or 'nothing'} in vain")
        return found

    def model(self, probe: Probe, architecture: str) -> Model:
        """The model itself, without data. Raises Rejected, OutOfBudget."""
        self._count()
        model = model_on_meta(architecture, self.config(probe))
        self._note(probe, f"a {architecture} to look at")
        return model

    def know(self, other: Lab) -> None:
        """Takes over what another lab of the same type was told, with its count of builds."""
        self.asked, self._answers, self.builds = other.asked, other._answers, other.builds

    def restart(self) -> None:
        """Forgets what was observed, not what is known: a new base is learned from by itself."""
        self.observations.clear()
        self.refusals.clear()
        self._seen.clear()

    def forget(self, observation: BuildObservation) -> None:
        """Leaves an observation out of what is learned from."""
        self.observations = [o for o in self.observations if o is not observation]

    def _stated(self, probe: Probe) -> dict[str, Value]:
        full = self.settings(probe.changes)
        left_out = probe.without
        if not left_out:
            return full
        return {n: v for n, v in full.items() if n != left_out and not n.startswith(f"{left_out}.")}

    def _key(self, full: Settings) -> str:
        return repr((self.architectures, sorted(full.items())))

    def _observation(self, answer: Answer, full: Settings, probe: Probe) -> BuildObservation | None:
        if not answer.is_built:
            return None
        stated = {name: full.get(name, default) for name, default in self.hidden.items()}
        values = {**stated, **answer.written}
        return BuildObservation(full, values, answer.tables, answer.copies, probe.origin, probe.changed)

    def _answer(self, probe: Probe, full: Settings, key: str) -> Answer:
        """Raises OutOfBudget."""
        if key not in self._answers:
            before = self.builds
            self._answers[key] = answer = self._ask(full)
            if self.builds > before:
                beside = probe.origin or (self.observations[0] if self.observations else None)
                self._note(probe, told(answer, beside))
        return self._answers[key]

    def _ask(self, full: Settings) -> Answer:
        """Raises OutOfBudget."""
        try:
            return self._build(full)
        except Unanswered as why:
            return Answer(refusal=str(why), given_up=True)
        except Rejected as refusal:
            return Answer(refusal=str(refusal))

    def _build(self, full: Settings) -> Answer:
        """Raises Rejected, OutOfBudget."""
        if any(full.get(name, ...) == value for name, value in self.endless.items()):
            raise Unanswered("does not come to an end")
        tables: dict[str, Shapes] = {}
        copies: dict[str, Mapping[str, str]] = {}
        written: dict[str, Value] = {}
        for architecture in self.architectures:
            config = make_config(self.model_type, full)  # a fresh one: models change the config that they get
            written = written or _written(config)
            built = self._built(architecture, config)
            if any(0 in shape for shape in built.shapes.values()):
                raise Rejected("a tensor without elements")
            tables[architecture], copies[architecture] = built.shapes, built.copies
        return Answer(written, tables, copies)

    def _built(self, architecture: str, config: ConfigObject) -> Built:
        """Raises Rejected, OutOfBudget."""
        self._count()
        try:
            return build(architecture, config, modules=MODULES)
        except TimedOut as ended:
            self.timed_out.append(str(ended))
            raise

    def _count(self) -> None:
        if self.builds >= self.limit:
            raise OutOfBudget(f"{self.limit} builds did not suffice")
        self.builds += 1

    def _note(self, probe: Probe, what: str) -> None:
        self.asked.append(Asked(len(self.asked) + 1, probe, what))


def class_config(model_type: str, settings: Mapping[str, Value | Json]) -> ConfigObject | None:
    """The config object that states just these; None where its class refuses them."""
    try:
        return make_config(model_type, settings)
    except Rejected:
        return None


def class_values(model_type: str, settings: Mapping[str, Value | Json]) -> dict[str, Value] | None:
    """Every field of a config that states just these; None where its class refuses them."""
    try:
        return _written(make_config(model_type, settings))
    except Rejected:
        return None


def _written(config: ConfigObject) -> dict[str, Value]:
    """Every field of a config. Raises Rejected for one that transformers itself cannot write as JSON."""
    try:
        return flatten(config)
    except AttributeError as error:  # a number where an inner config belongs
        raise Rejected(one_line(error)) from error


def names(observation: BuildObservation) -> set[str]:
    return {name for table in observation.tables.values() for name in table}


def kinds_of_names(observation: BuildObservation) -> set[str]:
    """The digit-free names: what stays the same when only counts change."""
    return {name_key(name) for name in names(observation)}
