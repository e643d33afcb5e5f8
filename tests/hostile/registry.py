"""The cases of `cases_*.py`, in the order of their names."""

from __future__ import annotations

import pkgutil
from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING

import tests.hostile

if TYPE_CHECKING:
    from tests.hostile.attempt import Case


# A kind with more cases than this is met in part in `make test`, which has half an hour for everything.
_MANY = 50
# No number of commands divides it, so that each kind of input meets each command.
_STEP = 11


def some_cases() -> tuple[Case, ...]:
    """All cases of the kinds that have few, every eleventh of those that have many. `make hostile` meets all."""
    kinds = Counter(kind_of(case) for case in all_cases())
    place: Counter[str] = Counter()
    chosen = []
    for case in all_cases():
        kind = kind_of(case)
        if kinds[kind] <= _MANY or place[kind] % _STEP == 0:
            chosen.append(case)
        place[kind] += 1
    return tuple(chosen)


def kind_of(case: Case) -> str:
    return case.name.partition(".")[0]


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
