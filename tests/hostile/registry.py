"""All cases of `cases_*.py`, in the order of their names."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

import tests.hostile

if TYPE_CHECKING:
    from tests.hostile.attempt import Case


def all_cases() -> tuple[Case, ...]:
    """Raises ValueError where two cases have one name."""
    modules = [
        import_module(f"tests.hostile.{found.name}")
        for found in pkgutil.iter_modules(tests.hostile.__path__)
        if found.name.startswith("cases_")
    ]
    cases = sorted((case for module in modules for case in module.CASES), key=lambda case: case.name)
    names = [case.name for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two cases have the name {twice[0]}")
    return tuple(cases)
