"""The equations of one model class: every role that was seen, with what is known from earlier rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.equation import LearnedClass, TooRare, Uncounted, Unexpressed
from weightsmith.shapes.learn.fit.fitter import RoleFitter
from weightsmith.shapes.learn.fit.null_defaults import null_rules
from weightsmith.shapes.learn.names import is_field
from weightsmith.shapes.learn.progress import FailedFit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.shapes.learn.fit.equation import Equation
    from weightsmith.shapes.learn.fit.sightings import RoleName, Sighting
    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.learn.progress import Progress

# Containers that nothing counts are spelled out up to this size, and up to so many kinds of tensors.
_HANDFUL, _FEW_KINDS = 24, 4


def fit_class(progress: Progress, architecture: str) -> LearnedClass:
    """The equations of all roles of the class.

    Fits again when digits turned out to be names, or null to stand for an expression.
    """
    while True:
        sightings = progress.sightings(architecture)
        learned, uncounted = _fit_roles(progress, architecture, sightings)
        small = [container for container in uncounted if _is_handful(container, sightings)]
        if small:
            progress.spell_out(architecture, small)
            continue
        rules = null_rules(learned.equations.values())
        if not rules.keys() - progress.nulls.keys():
            return learned
        progress.nulls |= rules
        progress.kept.clear()


def _fit_roles(
    progress: Progress, architecture: str, sightings: Sequence[Sighting]
) -> tuple[LearnedClass, list[str]]:
    """(what was learned, containers of which no equation says how many there are)."""
    structural = structural_fields(progress.found, architecture)
    fitter = RoleFitter.of(sightings, _fields(progress.found), structural, progress.nulls)
    equations: dict[RoleName, Equation] = {}
    unexpressed: dict[str, str] = {}
    uncounted: dict[str, None] = {}
    roles = dict.fromkeys(role for s in sightings for role in s.roles)
    for role in sorted(roles, key=lambda r: str(r).endswith(".bias")):  # a weight explains its bias
        try:
            equations[role] = _equation(progress, fitter, architecture, role)
        except Unexpressed as reason:
            if isinstance(reason, Uncounted):
                uncounted[reason.container] = None
            unexpressed[str(role)] = str(reason)
    learned = LearnedClass(architecture, progress.roles[architecture], equations, unexpressed)
    return learned, list(uncounted)


def _equation(progress: Progress, fitter: RoleFitter, architecture: str, role: RoleName) -> Equation:
    """Raises Unexpressed."""
    # More rows never make an equation fit that did not; only more fields to read could.
    reads = fitter.changes.movers(role), frozenset(fitter.structural), frozenset(progress.nulls)
    failed = progress.failed.get((architecture, role))
    if failed is not None and failed.is_as_before(*reads):
        raise Unexpressed(failed.why)
    seen = [id(s.observation) for s in fitter.sightings]
    if (architecture, role) in progress.kept:
        equation, proven = progress.kept[architecture, role]
        if fitter.holds(equation, [place for place, o in enumerate(seen) if o not in proven]):
            fitter.adopt(equation)
            proven |= set(seen)
            return equation
    try:
        equation = fitter.equation(role)
    except Unexpressed as reason:
        progress.failed[architecture, role] = FailedFit(*reads, str(reason), isinstance(reason, TooRare))
        raise
    progress.kept[architecture, role] = equation, set(seen)
    return equation


def _is_handful(container: str, sightings: Sequence[Sighting]) -> bool:
    """Whether the container holds few modules of few kinds and lies in no other: they can be named one by one."""
    sizes = [size for s in sightings for size in s.sizes.get(container, {}).values()]
    roles = {role for s in sightings for role in s.roles if container in role.containers}
    return (
        "#" not in container
        and max(sizes, default=0) <= _HANDFUL
        and all(len(role.containers) == 1 for role in roles)
        and len(roles) <= _FEW_KINDS
    )


def _fields(found: FieldSurvey) -> list[str]:
    """What equations may read: all that was seen to matter, and lists that the class makes by itself."""
    lists = [n for n, v in found.base.values.items() if isinstance(v, tuple) and is_field(n)]
    return list(dict.fromkeys([*found.accepted, *lists]))


def structural_fields(found: FieldSurvey, architecture: str) -> list[str]:
    """Fields that made tensors of the class come or go, other than by counting."""
    moved: dict[str, None] = {}
    for o in found.lab.observations:
        if (
            o.changed
            and o.origin is not None
            and o.tables[architecture].keys() != o.origin.tables[architecture].keys()
        ):
            moved |= dict.fromkeys(o.changed)
            for name, value in o.values.items():
                if isinstance(value, tuple) and is_field(name) and value != o.origin.values.get(name):
                    moved[name] = None
    return list(moved)
