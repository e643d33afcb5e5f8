"""Parts of a model that a config may leave out: a vision tower that is built only where there is a `vision_config`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.learn.probe.builder import class_config, names
from weightsmith.shapes.learn.probe.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

    from weightsmith.shapes.learn.probe.builder import Lab
    from weightsmith.shapes.learn.probe.probe import BuildObservation


def optional_parts(lab: Lab, base: BuildObservation) -> dict[str, tuple[str, ...]]:
    """Section → what the names of its tensors begin with, for each inner config that is null by default.

    base: all that the lab's base builds. Only sections that the base states are asked for, and only those without which
    the rest of the model is what it was.
    """
    plain = class_config(lab.model_type, {})
    if plain is None:
        return {}
    stated = {name.partition(".")[0] for name in lab.base if "." in name}
    found = {}
    for section in plain.sub_configs:
        if section in stated and getattr(plain, section, None) is None:
            rest = lab.built(Probe({}, "an inner config that may be left out", without=section))
            if rest is not None and names(rest) < names(base) and _same(rest, base):
                found[section] = tuple(_beginnings(names(base) - names(rest), names(rest)))
    return found


def _same(rest: BuildObservation, base: BuildObservation) -> bool:
    return all(
        table.items() <= base.tables[architecture].items() for architecture, table in rest.tables.items()
    )


def _beginnings(gone: Set[str], kept: Set[str]) -> Iterator[str]:
    """The shortest beginnings, ended by dots, of all names that are gone and of none that is kept."""
    found: dict[str, None] = {}
    for name in sorted(gone):
        if not name.startswith(tuple(found)):
            segments = name.split(".")
            ends = (".".join(segments[:place]) + "." for place in range(1, len(segments)))
            start = next((end for end in ends if not any(other.startswith(end) for other in kept)), name)
            found[start] = None
    yield from found
