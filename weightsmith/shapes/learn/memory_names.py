"""Learns how transformers has a family's tensors in memory: `page/memory_names.json`, `page/stored_layouts.json`.

transformers renames what it saves back to the names that the family was published under, and splits what it joined.
Tools that save what they have in memory do neither. What its conversion does to each tensor by itself is learned: as a
spelling where only names differ, as a layout where experts are joined. Its table of conversions tells what it takes
beside: matrices that lie the other way round, and the names of experts one by one.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from weightsmith.process.durable import replace_file
from weightsmith.shapes.learn.probe.builder import Lab
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.page.layouts import TABLE as LAYOUTS
from weightsmith.shapes.page.layouts import StoredLayouts, blank, joined, stored_layouts
from weightsmith.shapes.page.page import MEMORY_NAMES, page_document, parse_page
from weightsmith.shapes.page.pattern import DIGITS, name_key
from weightsmith.shapes.page.spellings import Spelling
from weightsmith.shapes.page.value import freeze
from weightsmith.shapes.reference.meta_models import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.learn.probe.probe import Settings
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.reference.untyped import Model

# So many segments at the front of a name say which part of the model it is of.
_TELLING = 2


def built(model_type: str) -> Model | None:
    """The class of a type's page without data; None where transformers has none."""
    return model_of(parse_page(page_document(model_type)), {}, "how are its tensors in memory?")


def model_of(page: Page, changes: Settings, why: str) -> Model | None:
    """The class of a page without data, on a config of the page's base with these changes; None where transformers has
    none or refuses it."""
    if page.custom_code or not page.architectures:
        return None
    base = {name: freeze(value) for name, value in page.base.items()}
    lab = Lab(page.model_type, page.architectures, base)
    try:
        return lab.model(Probe(changes, why), page.architectures[0])
    except Rejected:
        return None


@dataclass(frozen=True, slots=True)
class MemoryForm:
    """How a type's tensors are in memory, where that is not how they are saved.

    names: part of a name in memory → what the page has there. joined, turned: as `StoredLayouts` has them.
    """

    names: Mapping[str, str]
    joined: Mapping[str, tuple[str, ...]]
    turned: tuple[str, ...]


def learned(model_type: str) -> MemoryForm | None:
    """None where transformers does not build the class of the type's page."""
    model = built(model_type)
    if model is None:
        return None
    kinds = saved_kinds(model)
    names = rewrites(_renamed(kinds))
    page = parse_page(page_document(model_type))
    return MemoryForm(names or {}, in_memory(page, kinds, names), turned(model))


def committed() -> dict[str, MemoryForm]:
    """What the tables hold, by model type."""
    names = cast("dict[str, dict[str, str]]", json.loads(MEMORY_NAMES.read_text(encoding="utf-8")))
    layouts = stored_layouts()
    return {
        t: MemoryForm(names.get(t, {}), layouts.joined.get(t, {}), layouts.turned.get(t, ()))
        for t in {*names, *layouts.joined, *layouts.turned}
    }


def rewrites(renamed: Mapping[str, str]) -> dict[str, str] | None:
    """The fewest beginnings of names behind (name in memory → name on disk); None where beginnings do not explain it.

    A beginning is never so short that it says nothing: `model.` may begin names that are not changed. A name that is no
    longer than that is a beginning of its own where shorter ones do not do.
    """
    return next((found for whole in (False, True) if (found := _beginnings(renamed, whole=whole))), None)


def _beginnings(renamed: Mapping[str, str], *, whole: bool) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for memory, disk in renamed.items():
        if memory != disk and Spelling.of(found).read(memory) != disk:
            ours, theirs = memory.split("."), disk.split(".")
            alike = 0
            while alike < min(len(ours), len(theirs)) and ours[-1 - alike] == theirs[-1 - alike]:
                alike += 1
            kept = max(len(ours) - alike, min(_TELLING, len(ours) - (not whole)))
            more = kept - (len(ours) - alike)
            end = [] if kept == len(ours) else [""]
            found[".".join([*ours[:kept], *end])] = ".".join([*theirs[: len(theirs) - alike + more], *end])
    spelling = Spelling.of(found)
    right = all(spelling.read(memory) == disk for memory, disk in renamed.items())
    return found if found and right and not DIGITS.search("".join(found)) else None


def _renamed(kinds: Iterable[SavedKind]) -> dict[str, str]:
    """Name in memory → name on disk, of what is saved as it is; joined experts are split on the way."""
    return {
        kind.memory: next(iter(kind.stored)) for kind in kinds if list(kind.stored.values()) == [kind.shape]
    }


def in_memory(
    page: Page, kinds: Iterable[SavedKind], names: Mapping[str, str] | None
) -> dict[str, tuple[str, ...]]:
    """Tensor in memory → the page's tensors that it is saved as; empty where the two are the same but for names.

    names: the beginnings that are read otherwise; the tensor's name is told as they read it. Names have `{}` for an
    index. Empty, too, where a tensor that is saved is made of several: that is no layout of these parts.
    """
    patterns = [(p.regex(), blank(p.text)) for p in next(iter(page.layouts.values()))]
    spelling = Spelling.of(names or {})
    found: dict[str, tuple[str, ...]] = {}
    for kind in kinds:
        parts = tuple(dict.fromkeys(t for name in kind.stored for r, t in patterns if r.fullmatch(name)))
        whole = ".".join("{}" if part.isdigit() else part for part in spelling.read(kind.memory).split("."))
        if parts and parts != (whole,):
            found[whole] = parts
    used = [part for parts in found.values() for part in parts]
    return found if len(used) == len({*used}) and joined(next(iter(page.layouts.values())), found) else {}


@dataclass(frozen=True, slots=True)
class SavedKind:
    """One tensor in memory, for all whose names differ in digits alone. stored: what it is saved as: name → shape."""

    memory: str
    shape: tuple[int, ...]
    stored: Mapping[str, tuple[int, ...]]


def saved_kinds(model: Model) -> list[SavedKind]:
    """What transformers makes of a tensor of each kind when it saves the model."""
    from transformers.core_model_loading import revert_weight_conversion

    first: dict[str, str] = {}
    state = model.state_dict()
    for name in state:
        first.setdefault(name_key(name), name)
    found = []
    for name in first.values():
        try:
            stored = revert_weight_conversion(model, {name: state[name]})
        except Exception:  # a conversion that needs other tensors beside this one: it is no renaming
            continue
        shapes = {disk: tuple(tensor.shape) for disk, tensor in stored.items()}
        found.append(SavedKind(name, tuple(state[name].shape), shapes))
    return found


def turned(model: Model) -> tuple[str, ...]:
    """Ends of the names of tensors that transformers swaps the axes of where they do not fit as they are."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import Transpose

    ends = (
        _plain(conversion.target_patterns[0])
        for conversion in get_model_conversion_mapping(model)
        if any(isinstance(op, Transpose) and op.check_dims for op in getattr(conversion, "operations", ()))
        and conversion.source_patterns == conversion.target_patterns
    )
    return tuple(dict.fromkeys(ends))


def parts() -> dict[str, tuple[str, ...]]:
    """End of the name of joined experts → the ends that most types have for the parts of a single expert."""
    from transformers import conversion_mapping
    from transformers.core_model_loading import Concatenate, MergeModulelist

    counts: dict[str, Counter[tuple[str, ...]]] = {}
    for conversions in conversion_mapping._build_checkpoint_conversion_mapping().values():
        for conversion in conversions:
            operations = getattr(conversion, "operations", ())
            stacks = any(isinstance(op, MergeModulelist) for op in operations)
            if stacks and all(isinstance(op, MergeModulelist | Concatenate) for op in operations):
                ends = tuple(_of_experts(p).replace("*", "{}") for p in conversion.source_patterns)
                counts.setdefault(_of_experts(conversion.target_patterns[0]), Counter())[ends] += 1
    return {end: found.most_common(1)[0][0] for end, found in sorted(counts.items())}


def _of_experts(pattern: str) -> str:
    """The end of a pattern of the table, from the experts on."""
    return "." + _plain(pattern)[_plain(pattern).index("experts.") :]


def _plain(pattern: str) -> str:
    """A pattern of transformers' table as the text that it stands for."""
    return pattern.replace("\\", "").removesuffix("$")


def write_tables(found: Mapping[str, MemoryForm]) -> None:
    """Writes both tables anew. found: what was learned, by model type."""
    names = {t: found[t].names for t in sorted(found) if found[t].names}
    rows = ",\n".join(f"{json.dumps(t)}: {json.dumps(rewritten)}" for t, rewritten in names.items())
    replace_file(MEMORY_NAMES, ("{\n" + rows + "\n}\n").encode())
    layouts = StoredLayouts(
        {t: found[t].joined for t in sorted(found) if found[t].joined},
        {t: found[t].turned for t in sorted(found) if found[t].turned},
        parts(),
    )
    replace_file(LAYOUTS, _text(layouts.document()).encode())
    stored_layouts.cache_clear()


def _text(document: JsonObject) -> str:
    """JSON with one line for each entry of each of its objects."""
    groups = []
    for key, entries in document.items():
        items = entries.items() if isinstance(entries, dict) else ()
        rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in items)
        groups.append(f"{json.dumps(key)}: {{\n{rows}\n}}")
    return "{\n" + ",\n".join(groups) + "\n}\n"
