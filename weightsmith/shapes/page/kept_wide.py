"""Which tensors transformers keeps in F32 whatever 16-bit dtype a model is loaded in: a table by model type.

The table is learned (`shapes/learn/wide_tensors.py`): classes name such tensors (`_keep_in_fp32_modules_strict`, and
`_keep_in_fp32_modules` for float16 alone), or make them in F32 themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.shapes.page.pattern import name_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TABLE = Path(__file__).with_name("kept_wide.json")


@dataclass(frozen=True, slots=True)
class WideTensors:
    """source: what was asked. types: 16-bit dtype → model type → ends of digit-free names that the class keeps in F32.

    usual: 16-bit dtype → such ends that most of the types keep that have them; for types that are not in the table.
    known: the types that were asked.
    """

    source: str
    types: Mapping[str, Mapping[str, tuple[str, ...]]]
    usual: Mapping[str, tuple[str, ...]]
    known: frozenset[str]

    def of(self, config: Mapping[str, object] | None, dtype: str) -> tuple[str, ...]:
        """The ends that a model of this config keeps in F32 when it is loaded in `dtype`; see `is_wide`.

        A config of several parts names several types, and each says what it keeps.
        """
        named = [] if config is None else list(_model_types(config))
        kept = self.types.get(dtype, {})
        if not any(name in self.known for name in named):
            return self.usual.get(dtype, ())
        return tuple(dict.fromkeys(end for name in named for end in kept.get(name, ())))


def is_wide(name: str, ends: tuple[str, ...]) -> bool:
    """Whether a tensor has one of these ends, each of whole words between dots."""
    key = f".{name_key(name)}"
    return any(key.endswith(f".{end}") for end in ends)


def ending(key: str) -> str:
    """What tells a tensor wherever its model stands in another: the part of its digit-free name behind the last index,
    or the last two words."""
    behind = key.rpartition("#.")[2]
    return behind if "#." in key else ".".join(key.split(".")[-2:])


@cache
def wide_tensors() -> WideTensors:
    """The table as it is committed."""
    document = json.loads(TABLE.read_text(encoding="utf-8"))
    kept = {
        dtype: {name: tuple(ends) for name, ends in rows.items()} for dtype, rows in document["types"].items()
    }
    usual = {dtype: tuple(ends) for dtype, ends in document["usual"].items()}
    return WideTensors(document["source"], kept, usual, frozenset(document["known"]))


def _model_types(config: Mapping[str, object]) -> Iterator[str]:
    """That of the config, and those of the configs inside it."""
    own = config.get("model_type")
    if isinstance(own, str):
        yield own
    for key, value in config.items():
        if key.endswith("_config") and isinstance(value, dict):
            yield from _model_types(value)
