"""Learns how transformers names a family's tensors in memory: the table `page/memory_names.json`.

transformers renames what it saves back to the names that the family was published under. Tools that save what they
have in memory do not. What its conversion does to each name by itself is the spelling.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.process.durable import replace_file
from weightsmith.shapes.page.page import DIGITS, MEMORY_NAMES, load_page
from weightsmith.shapes.page.spellings import Spelling
from weightsmith.shapes.reference.meta_models import Rejected, make_config, model_on_meta

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.shapes.reference.untyped import Model

# So many segments at the front of a name say which part of the model it is of.
_TELLING = 2


def learned(model_type: str) -> dict[str, str] | None:
    """Part of a name in memory → what the page has there; None where the two are the same, or no parts explain them."""
    page = load_page(model_type)
    if page.custom_code or not page.architectures:
        return None
    try:
        model = model_on_meta(page.architectures[0], make_config(model_type, dict(page.base)))
    except Rejected:
        return None
    return rewrites(dict(_renamed(model)))


def rewrites(renamed: Mapping[str, str]) -> dict[str, str] | None:
    """The fewest beginnings of names behind (name in memory → name on disk); None where beginnings do not explain it.

    A beginning is never so short that it says nothing: `model.` may begin names that are not changed.
    """
    found: dict[str, str] = {}
    for memory, disk in renamed.items():
        if memory != disk and Spelling.of(found).read(memory) != disk:
            ours, theirs = memory.split("."), disk.split(".")
            alike = 0
            while alike < min(len(ours), len(theirs)) and ours[-1 - alike] == theirs[-1 - alike]:
                alike += 1
            kept = max(len(ours) - alike, min(_TELLING, len(ours) - 1))
            more = kept - (len(ours) - alike)
            part = ".".join([*ours[:kept], ""])
            found[part] = ".".join([*theirs[: len(theirs) - alike + more], ""])
    spelling = Spelling.of(found)
    right = all(spelling.read(memory) == disk for memory, disk in renamed.items())
    return found if found and right and not DIGITS.search("".join(found)) else None


def _renamed(model: Model) -> Iterator[tuple[str, str]]:
    """(name in memory, name on disk) of every tensor that is saved as it is; joined experts are split on the way."""
    from transformers.core_model_loading import revert_weight_conversion

    for name, tensor in model.state_dict().items():
        try:
            stored = revert_weight_conversion(model, {name: tensor})
        except Exception:  # a conversion that needs other tensors beside this one: it is no renaming
            continue
        (first, saved), *more = stored.items()
        if not more and tuple(saved.shape) == tuple(tensor.shape):
            yield name, first


def write_table(found: Mapping[str, Mapping[str, str]]) -> None:
    """Writes the table anew. found: what was learned, by model type."""
    rows = ",\n".join(f"{json.dumps(t)}: {json.dumps(found[t])}" for t in sorted(found))
    replace_file(MEMORY_NAMES, ("{\n" + rows + "\n}\n").encode())
