"""What the user sets (`--set FIELD=VALUE`) as part of what is given; and the word of the weights against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.given.user_settings import under_page_names
from weightsmith.shapes.guesses import as_text, setting
from weightsmith.shapes.inference import RULED_OUT
from weightsmith.shapes.page.value import thaw
from weightsmith.shapes.solve.fit import fit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.given.roles import NameTable
    from weightsmith.shapes.given.ties import Copies
    from weightsmith.shapes.solve.fit import Fit

_NAMED = 6


def with_user_set(
    user_set: Mapping[str, Json], config: JsonObject | None, found: Fit, table: NameTable, shared: Copies
) -> tuple[Fit, tuple[Problem, ...]]:
    """The fit once the user's settings are taken as given, and no problem.

    Where the weights rule them out: the fit without them, and the problem. found: the fit without them. Raises Usage
    for a name that the family does not have.
    """
    if not user_set:
        return found, ()
    page = found.page
    given = under_page_names(user_set, config, page)
    stated = Stated.by_user(found.stated.config, page, given)
    again = fit(page, found.layout, table, stated, shared, spelling=found.spelling)
    if again is None or len(again.misfits) > len(found.misfits) or again.distance[0] > found.distance[0]:
        lost = sorted(given)
    else:
        known = page.fields.keys() | page.unverifiable.keys()
        values = again.solution.values
        lost = [name for name in sorted(given) if name in known and values.get(name) != stated.value(name)]
        if not lost:
            return again, ()
    problem = Problem(RULED_OUT, _sentence(lost, given, found), stops_loader=True)
    return found, (problem,)


def _sentence(lost: list[str], given: Mapping[str, Json], found: Fit) -> str:
    """Which settings cannot be, and what they could be."""
    said = " with ".join(setting(name, given[name]) for name in lost)
    name = lost[0]
    options = [as_text(thaw(value)) for value in found.solution.options.get(name, ())]
    if len(lost) > 1 or not options:
        return f"the weights rule out {said}"
    if len(options) == 1:
        return f"the weights rule out {said}: {name} is {options[0]}"
    more = ", …" if len(options) > _NAMED else ""
    return f"the weights rule out {said}: {name} can be {', '.join(options[:_NAMED])}{more}"
