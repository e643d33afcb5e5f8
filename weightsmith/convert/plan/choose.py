"""Which converter: the one that was named, or the one that recognises the source, with its reason."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from weightsmith.checkpoint import config_beside
from weightsmith.convert.protocol import Converter, SourceEvidence
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.packing import left_packed
from weightsmith.values.claims import read_claims
from weightsmith.values.value_survey import survey_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint

# Where other packages name their converters: `[project.entry-points."weightsmith.converters"]`.
GROUP = "weightsmith.converters"
_MEMBERS = ("name", "options", "recognise", "plan")


def gather(checkpoint: Checkpoint) -> SourceEvidence:
    """What a converter decides by. The numbers are sampled only when one asks for the survey."""
    config = config_beside(checkpoint)
    claims = read_claims(checkpoint.root, config)
    return SourceEvidence(checkpoint, config, claims, cache(lambda: survey_values(checkpoint, sample=True)))


def built_in() -> tuple[Converter, ...]:
    """Every converter that comes with weightsmith; the first is the one that fits any source.

    They are imported by name, because imports go down only and converters import this package.
    """
    converters: tuple[Converter, ...] = import_module("weightsmith.converters").BUILT_IN
    return converters


def old_names() -> Mapping[str, str]:
    """What converters that come with weightsmith were called before: old name -> name."""
    names: Mapping[str, str] = import_module("weightsmith.converters").OLD_NAMES
    return names


def third_party() -> tuple[Converter, ...]:
    """The converters of other installed packages: entry points of the group GROUP, each naming a Converter.

    Raises ConversionRefused for one that cannot be loaded or takes a name that is taken: to go on without it
    could choose another converter unseen.
    """
    found: list[Converter] = []
    taken = {converter.name for converter in built_in()}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        package = entry.dist.name if entry.dist is not None else "an unknown package"
        subject = f"converter {entry.name} of {package}"
        way_out = "name a built-in one with --converter, or uninstall the package"
        try:
            loaded = entry.load()
        except Exception as error:  # a module of another package may raise anything
            reason = f"{type(error).__name__}: {error}"
            raise ConversionRefused(subject, f"cannot be loaded ({reason})", way_out) from error
        missing = [member for member in _MEMBERS if not hasattr(loaded, member)]
        if missing or isinstance(loaded, type):
            fact = f"{entry.value} is no converter ({', '.join(missing) or 'a class, not an instance'})"
            raise ConversionRefused(subject, fact, way_out)
        converter: Converter = loaded
        if converter.name in taken:
            raise ConversionRefused(subject, f"takes the name {converter.name!r}, which is taken", way_out)
        taken.add(converter.name)
        found.append(converter)
    return tuple(found)


def choose(evidence: SourceEvidence, named: str | None) -> tuple[Converter, str]:
    """(converter, why).

    named: the converter that the user asked for; None to choose by evidence.

    Raises ConversionRefused when the name is unknown, two converters recognise the source, or none does and it holds
    packed numbers: these are copied only on the user's word.
    """
    if named is not None:
        return _named(named)
    converters = (*built_in(), *third_party())
    reasons = [(c, reason) for c in converters if (reason := c.recognise(evidence)) is not None]
    if len(reasons) > 1:
        names = " and ".join(converter.name for converter, _ in reasons)
        why = "; ".join(f"{converter.name}: {reason}" for converter, reason in reasons)
        raise ConversionRefused(
            evidence.checkpoint.path, f"{names} both recognise it ({why})", "name one with --converter"
        )
    if reasons:
        return reasons[0]
    fault = left_packed(evidence.checkpoint)
    if fault is not None:
        raise ConversionRefused(fault.subject, fault.fact, fault.way_out)
    return converters[0], "no other converter has anything to do here"


def _named(name: str) -> tuple[Converter, str]:
    """The converter of this name, or that was once called so."""
    renamed = old_names().get(name)
    why = "named on the command line" + (f" by its old name, {name}" if renamed else "")
    own = {converter.name: converter for converter in built_in()}
    if (renamed or name) in own:
        return own[renamed or name], why
    converters = (*own.values(), *third_party())
    found = next((converter for converter in converters if converter.name == name), None)
    if found is None:
        known = ", ".join(converter.name for converter in converters)
        raise ConversionRefused("--converter", f"{name!r} is unknown", f"choose from {known}")
    return found, why
