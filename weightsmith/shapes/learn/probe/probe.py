"""One question to the reference implementation: a config, why it is asked, and what it told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.reference.meta_models import Shapes

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


@dataclass(frozen=True, slots=True)
class Probe:
    """changes: beside what the base states. why: what the asker wants to know, for people.

    origin, changed: the observation that it differs from, by those settings, where that is known. without: a setting
    that it leaves out, or an inner config with all that it states; "" for none.
    """

    changes: Settings
    why: str
    origin: BuildObservation | None = None
    changed: tuple[str, ...] = ()
    without: str = ""

    @property
    def said(self) -> str:
        """The changes, for people; of one that differs from its origin in few settings these alone."""
        wanted = {n: self.changes[n] for n in self.changed} if self.changed else self.changes
        parts = [f"{name}={value!r}" for name, value in wanted.items()]
        return ", ".join([*parts, f"without {self.without}"] if self.without else parts) or "the base"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the reference makes of a config.

    written: every field that the config class has. tables, copies: as an observation has them. refusal: its words where
    it does not build. given_up: whether the build did not come to an end, so that nothing is known.
    """

    written: Mapping[str, Value] = field(default_factory=dict)
    tables: Mapping[str, Shapes] = field(default_factory=dict)
    copies: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refusal: str = ""
    given_up: bool = False

    @property
    def is_built(self) -> bool:
        return not self.refusal and not self.given_up


@dataclass(frozen=True, slots=True)
class Asked:
    """A probe that took a build, and what it told, for people. number: of the probe, from 1 on."""

    number: int
    probe: Probe
    told: str


def told(answer: Answer, beside: BuildObservation | None) -> str:
    """What a build shows beside another one, for people."""
    if not answer.is_built:
        return f"no answer: {answer.refusal}" if answer.given_up else f"refused: {answer.refusal}"
    here = _tensors(answer.tables)
    if beside is None:
        return f"{len(here)} tensors"
    there = _tensors(beside.tables)
    moved = sum(there[name] != shape for name, shape in here.items() if name in there)
    counts = (
        (len(here.keys() - there.keys()), "more tensors"),
        (len(there.keys() - here.keys()), "fewer tensors"),
        (moved, "other shapes"),
        (int(answer.copies != beside.copies), "other ties"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts if count) or "the same tensors"


def _tensors(tables: Mapping[str, Shapes]) -> dict[tuple[str, str], tuple[int, ...]]:
    return {(architecture, name): shape for architecture, t in tables.items() for name, shape in t.items()}
