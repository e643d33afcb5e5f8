"""Learns which tensors transformers keeps in F32 in a model of 16 bits: `page/kept_wide.json`.

Each class is built without data in bfloat16 and in float16, and asked what loading makes of each tensor's dtype: its
plan (`_get_dtype_plan`: the patterns that the class and its parts name), and what its constructor makes in another
dtype (transformers, core_model_loading.py, `convert_and_load_state_dict_in_model`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.process.durable import replace_file
from weightsmith.shapes.learn.memory_names import model_of, saved_kinds
from weightsmith.shapes.page.kept_wide import TABLE, ending, wide_tensors
from weightsmith.shapes.page.page import catalog_types, page_document, parse_page
from weightsmith.shapes.page.pattern import name_key, text_key
from weightsmith.shapes.reference.meta_models import version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.shapes.reference.untyped import Model

DTYPES = ("bfloat16", "float16")
# An end counts as usual where more than this part of the types that have it keep it.
_USUAL = 0.5


Kept: TypeAlias = "Mapping[str, tuple[str, ...]]"


def learned(model_type: str) -> Kept | None:
    """16-bit dtype → ends of names that are kept in F32; None where transformers does not build the page's class."""
    page = parse_page(page_document(model_type))
    kept: dict[str, tuple[str, ...]] = {}
    for dtype in DTYPES:
        model = model_of(page, {"dtype": dtype}, f"what does a model of {dtype} keep in F32?")
        if model is None:
            return None
        kept[dtype] = _ends(*_split(model, dtype))
    return kept


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


def committed() -> dict[str, Kept]:
    """What the table holds, by model type."""
    table = wide_tensors()
    return {t: {dtype: table.types[dtype].get(t, ()) for dtype in DTYPES} for t in table.known}


def write_table(found: Mapping[str, Kept | None]) -> None:
    """Writes the table anew. found: what was learned, by model type."""
    rows = {t: found[t] for t in sorted(found) if found[t] is not None}
    types = {dtype: {t: row[dtype] for t, row in rows.items() if row and row[dtype]} for dtype in DTYPES}
    usual = {dtype: _usual(types[dtype]) for dtype in DTYPES}
    document = {"source": version(), "usual": usual, "known": list(rows), "types": types}
    replace_file(TABLE, _text(document, types).encode())
    wide_tensors.cache_clear()


def _usual(kept: Kept) -> tuple[str, ...]:
    """Ends that more than half of the types keep whose pages have them."""
    keep = Counter(end for ends in kept.values() for end in ends)
    pages = (page_document(model_type)["tensors"] for model_type in catalog_types())
    have = Counter(end for tensors in pages for end in {ending(text_key(text)) for text in tensors})
    return tuple(sorted(end for end, count in keep.items() if count > _USUAL * have[end]))


def _text(document: Mapping[str, object], types: Mapping[str, Kept]) -> str:
    """JSON with a line for each type."""
    groups = []
    for dtype, rows in types.items():
        lines = ",\n".join(f"{json.dumps(t)}: {json.dumps(ends)}" for t, ends in rows.items())
        groups.append(f"{json.dumps(dtype)}: {{\n{lines}\n}}")
    head = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(document[key])}" for key in ("source", "usual", "known")
    )
    return "{\n" + head + ',\n"types": {\n' + ",\n".join(groups) + "\n}\n}\n"
