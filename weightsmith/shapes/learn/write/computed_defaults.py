"""Settings whose default the config class computes from others (`head_dim = qk_rope_head_dim`), read by no shape.

Their default is that of one model. A config for another one must leave them to the class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.learn.probe.builder import class_values
from weightsmith.shapes.page.value import is_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from weightsmith.shapes.page.value import Value


def computed_by_class(model_type: str, defaults: Mapping[str, Value], names: Set[str]) -> set[str]:
    """Those of `names` whose value moves when another setting, a number, is stated otherwise.

    defaults: every setting of a config that states nothing. All but `names` are stated in each trial, since a section
    that is stated in part may have other defaults than one that is left out. Lists are not looked at: what follows a
    count of layers is known by its length.
    """
    stated = {name: value for name, value in defaults.items() if name not in names}
    usual = class_values(model_type, stated) or {}
    scalars = {n for n in names & usual.keys() if not isinstance(usual[n], tuple)}
    moved: set[str] = set()
    for name, number in usual.items():
        if not is_number(number):
            continue
        # Sizes divide each other, so that a class takes twice the number, or half of it, most often.
        trials = (
            class_values(model_type, {**stated, name: n}) for n in (number * 2, number // 2, number + 1)
        )
        if other := next(filter(None, trials), None):
            moved |= {n for n in scalars - {name} if other.get(n, usual[n]) != usual[n]}
    return moved
