"""What grows while one family is learned, from round to round."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.sightings import RoleParser

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.learn.fit.equation import Equation
    from weightsmith.shapes.learn.fit.sightings import RoleName, Sighting
    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.learn.probe.probe import BuildObservation
    from weightsmith.shapes.page.expression import Polynomial

    # A model class, and a role in it.
    ClassRole = tuple[str, RoleName]


@dataclass(frozen=True, slots=True)
class FailedFit:
    """A role without an equation. movers, structural, nulls: what could be read; only more of it could help, unless the
    role was too rare."""

    movers: frozenset[str]
    structural: frozenset[str]
    nulls: frozenset[str]
    why: str
    too_rare: bool = False

    def is_as_before(self, movers: frozenset[str], structural: frozenset[str], nulls: frozenset[str]) -> bool:
        same = (self.movers, self.structural, self.nulls) == (movers, structural, nulls)
        return same and not self.too_rare


@dataclass(slots=True)
class Progress:
    """kept: equations, and the observations (by id) that each is known to explain. visited: observations (by id) from
    which roles were surveyed that nothing had moved. spelled: containers whose digits are names: the places of a few
    convolutions among their activations. tried: rules that were put to the test. spellings: other names that the
    tensors may have."""

    found: FieldSurvey
    roles: dict[str, RoleParser]
    nulls: dict[str, Polynomial]
    spellings: Sequence[Mapping[str, str]] = ()
    rng: random.Random = field(default_factory=lambda: random.Random(20))
    sighted: dict[tuple[str, int], Sighting] = field(default_factory=dict)
    failed: dict[ClassRole, FailedFit] = field(default_factory=dict)
    kept: dict[ClassRole, tuple[Equation, set[int]]] = field(default_factory=dict)
    visited: set[int] = field(default_factory=set)
    spelled: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)

    def spell_out(self, architecture: str, containers: Sequence[str]) -> None:
        """Takes the digits in these containers for parts of names from now on."""
        self.spelled |= set(containers)
        self._read_names(architecture, self.roles[architecture].slotted - self.spelled)

    def learn_roles(self) -> None:
        """Which digits are indices, once more with what was observed since."""
        for architecture, known in list(self.roles.items()):
            found = RoleParser.learned(self.found.lab.observations, architecture).slotted - self.spelled
            if not found <= known.slotted:
                self._read_names(architecture, known.slotted | found)

    def _read_names(self, architecture: str, slotted: set[str]) -> None:
        self.roles[architecture] = RoleParser(slotted)
        self.sighted = {key: s for key, s in self.sighted.items() if key[0] != architecture}

    def sightings(self, architecture: str) -> list[Sighting]:
        """Everything that was observed so far, sorted by role."""
        return [self._sighting(architecture, o) for o in self.found.lab.observations]

    def _sighting(self, architecture: str, observation: BuildObservation) -> Sighting:
        key = architecture, id(observation)
        if key not in self.sighted:
            self.sighted[key] = self.roles[architecture].sight(observation, architecture)
        return self.sighted[key]
