"""What a shell offers as the value of an option (docs/index.md). Each function imports what it lists when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click


def converters(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    """`--converter`."""
    from weightsmith.convert.plan.choose import built_in

    return _beginning((converter.name for converter in built_in()), begun)


def families(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    """`--model-type`."""
    from weightsmith.shapes.page.page import catalog_types

    return _beginning(catalog_types(), begun)


def chips(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    """`--chip`."""
    from weightsmith.fits.target import CHIPS

    return _beginning(CHIPS, begun)


def _beginning(names: Iterable[str], begun: str) -> list[str]:
    return [name for name in names if name.startswith(begun)]
