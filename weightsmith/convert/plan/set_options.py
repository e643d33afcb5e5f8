"""Reads the `--set KEY=VALUE` options of converters, each as the type that it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from weightsmith.errors import ConversionRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from weightsmith.convert.protocol import Converter

Choice = TypeVar("Choice", bound=str)


def check_options(converter: Converter, options: Mapping[str, str], others: Iterable[Converter] = ()) -> None:
    """Raises ConversionRefused for a key that the converter does not take. others: who may be meant instead."""
    for key in options:
        if key not in converter.options:
            known = f"its options: {', '.join(converter.options) or 'none'}"
            meant = " or ".join(f"--converter {other.name}" for other in others if key in other.options)
            way_out = f"{known}; {meant} has it" if meant else known
            raise ConversionRefused(f"--set {key}", f"{converter.name} has no such option", way_out)


def read_choice(options: Mapping[str, str], key: str, choices: Sequence[Choice]) -> Choice | None:
    """The one of `choices` that was given; None when none was. Raises ConversionRefused for anything else."""
    given = options.get(key)
    if given is None:
        return None
    for choice in choices:
        if choice == given:
            return choice
    raise ConversionRefused(f"--set {key}", f"{given!r} is unknown", f"choose {' or '.join(choices)}")


def read_number(
    options: Mapping[str, str], key: str, allowed: Callable[[int], bool], way_out: str
) -> int | None:
    """The whole number that was given; None when none was.

    allowed: whether a number makes sense for this key.
    way_out: what to give instead.
    Raises ConversionRefused for what is no number or is not allowed.
    """
    given = options.get(key)
    if given is None:
        return None
    try:
        number = int(given)
    except ValueError:
        number = None
    if number is None or not allowed(number):
        raise ConversionRefused(f"--set {key}", f"{given!r} is no {key.replace('_', ' ')}", way_out)
    return number
