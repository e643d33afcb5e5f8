"""Classes of a model's own, which its configs name by `auto_map`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from weightsmith.checkpoint.config_file import setting_in
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.place import Place

_CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")


class Mapped(NamedTuple):
    """file: the config. name: of the auto class. target: `module.Class`, or `owner/repository--module.Class`."""

    file: str
    name: str
    target: str


def mapped(root: Place) -> Iterator[Mapped]:
    """What the configs of a folder name. A file that cannot be read names nothing."""
    for file in _CONFIGS:
        try:
            named = setting_in(root / file, "auto_map")
        except WeightsmithError:
            continue
        for name, targets in named.items() if isinstance(named, dict) else ():
            for target in targets if isinstance(targets, list) else [targets]:
                if isinstance(target, str):
                    yield Mapped(file, name, target)
