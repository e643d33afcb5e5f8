"""What is learned of one role, and of one model class: equations, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.check import shape_of
from weightsmith.shapes.page.expression import Polynomial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.shapes.learn.fit.index_space import Slots
    from weightsmith.shapes.learn.fit.sightings import RoleName, RoleParser
    from weightsmith.shapes.page.value import Value

Axes = tuple[Polynomial, ...]
# The axes, and the condition under which they hold: "" for always.
ShapeVariant = tuple[Axes, str]


@dataclass(frozen=True, slots=True)
class Equation:
    """One role: the count of each slot, and its shapes with their conditions; the first that holds counts."""

    role: RoleName
    slots: Slots
    variants: tuple[ShapeVariant, ...]

    def shape(self, values: Mapping[str, Value]) -> tuple[int | None, ...] | None:
        """The shape of the first variant whose condition holds; None when there is none."""
        return shape_of(self.variants, values)


@dataclass(frozen=True, slots=True)
class LearnedClass:
    """One model class: equations by role, what is not expressed, and how names become roles."""

    architecture: str
    roles: RoleParser
    equations: Mapping[RoleName, Equation]
    unexpressed: Mapping[str, str]


class Unexpressed(Exception):
    """No equation of the language fits; the text says what is not understood."""


class TooRare(Unexpressed):
    """The role was seen in so few configs that chance would find a condition for them; more may show it."""


class Uncounted(Unexpressed):
    """No equation says how many there are of a container."""

    def __init__(self, container: str) -> None:
        super().__init__(f"no equation found for how many {container}# there are")
        self.container = container
