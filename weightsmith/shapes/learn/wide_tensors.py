"""Learns which tensors transformers keeps in F32 in a model of 16 bits: `page/kept_wide.json`.

Each class is built without data in bfloat16 and in float16, and asked what loading makes of each tensor's dtype: its
plan (`_get_dtype_plan`: the patterns that the class and its parts name), and what its constructor makes in another
dtype (transformers, core_model_loading.py, `convert_and_load_state_dict_in_model`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.process.durable import replace_file
from weightsmith.shapes.learn.memory_names import saved_kinds
from weightsmith.shapes.page.kept_wide import TABLE, ending, wide_tensors
from weightsmith.shapes.page.page import page_document, parse_page
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.reference.meta_models import Rejected, make_config, model_on_meta, version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.reference.untyped import Model

DTYPES = ("bfloat16", "float16")
# An end counts as usual where more than this part of the types that have it keep it.
_USUAL = 0.5


@dataclass(frozen=True, slots=True)
class KeptWide:
    """One type: 16-bit dtype → ends of names that are kept in F32; and those of all its tensors."""

    kept: Mapping[str, tuple[str, ...]]
    ends: frozenset[str]


def learned(model_type: str) -> KeptWide | None:
    """None where transformers does not build the class of the type's page."""
    page = parse_page(page_document(model_type))
    if page.custom_code or not page.architectures:
        return None
    kept: dict[str, tuple[str, ...]] = {}
    ends: set[str] = set()
    for dtype in DTYPES:
        try:
            config = make_config(model_type, {**page.base, "dtype": dtype})
            wide, narrow = _split(model_on_meta(page.architectures[0], config), dtype)
        except Rejected:
            return None
        kept[dtype] = _ends(wide, narrow)
        ends |= {ending(name) for name in wide | narrow}
    return KeptWide(kept, frozenset(ends))


def _split(model: Model, dtype: str) -> tuple[set[str], set[str]]:
    """Digit-free names, in memory and on disk, of what is F32 after loading in `dtype`, and of what is not."""
    import torch

    plan = model._get_dtype_plan(getattr(torch, dtype))
    patterns = [re.compile(pattern.replace("*", ".*")) for pattern in plan]
    state = model.state_dict()
    wide: set[str] = set()
    narrow: set[str] = set()
    for kind in saved_kinds(model):
        made_wide = state[kind.memory].dtype is torch.float32
        planned = state[kind.memory].is_floating_point() and any(p.search(kind.memory) for p in patterns)
        names = {name_key(name) for name in (kind.memory, *kind.stored)}
        (wide if made_wide or planned else narrow).update(names)
    return wide, narrow


def _ends(wide: set[str], narrow: set[str]) -> tuple[str, ...]:
    """The shortest ends that tell the wide ones: whole names where the end is also that of another tensor."""
    other = {ending(name) for name in narrow}
    return tuple(sorted({name if ending(name) in other else ending(name) for name in wide}))


def write_table(found: Mapping[str, KeptWide | None], only: bool) -> None:
    """Writes the table anew. found: by model type. only: the types that are not in it stay as they are."""
    rows = {t: row for t, row in found.items() if row is not None}
    before = wide_tensors() if only else None
    types: dict[str, dict[str, tuple[str, ...]]] = {}
    for dtype in DTYPES:
        old = before.types[dtype] if before else {}
        new = {
            **{t: ends for t, ends in old.items() if t not in found},
            **{t: r.kept[dtype] for t, r in rows.items()},
        }
        types[dtype] = {t: new[t] for t in sorted(new) if new[t]}
    known = sorted({*(before.known if before else ()), *rows})
    usual = dict(before.usual) if before else {dtype: _usual(rows, dtype) for dtype in DTYPES}
    replace_file(TABLE, _text({"source": version(), "usual": usual, "types": types, "known": known}).encode())
    wide_tensors.cache_clear()


def _usual(rows: Mapping[str, KeptWide], dtype: str) -> tuple[str, ...]:
    """Ends that more than half of the types keep which have them."""
    keep = Counter(end for row in rows.values() for end in row.kept[dtype])
    have = Counter(end for row in rows.values() for end in row.ends)
    return tuple(sorted(end for end, count in keep.items() if count > _USUAL * have[end]))


def _text(document: Mapping[str, object]) -> str:
    """JSON with a line for each type."""
    types: JsonObject = document["types"]  # type: ignore[assignment]
    groups = []
    for dtype, rows in types.items():
        lines = ",\n".join(f"{json.dumps(t)}: {json.dumps(ends)}" for t, ends in rows.items())  # type: ignore[union-attr]
        groups.append(f"{json.dumps(dtype)}: {{\n{lines}\n}}")
    head = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(document[key])}" for key in ("source", "usual", "known")
    )
    return "{\n" + head + ',\n"types": {\n' + ",\n".join(groups) + "\n}\n}\n"
