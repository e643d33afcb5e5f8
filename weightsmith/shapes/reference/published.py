"""Which other names transformers takes for a family's tensors: those that published checkpoints have.

Its loading renames what it no longer writes. A model that was loaded from such a checkpoint is saved under the old
names again, a fresh one is not, so what a fresh model would be saved as is compared with either (core_model_loading,
conversion_mapping of transformers 5). A body that was saved without its head lacks the head's name for it.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from weightsmith.shapes.page.spellings import Spelling
from weightsmith.shapes.reference.meta_models import model_on_meta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from weightsmith.shapes.reference.untyped import ConfigObject, Model, WeightConversion

_REPLACED = re.compile(r"""\.replace\(["']([\w.]+)["'], ["']([\w.]+)["']\)""")


def published(architectures: Iterable[str], config: ConfigObject) -> list[dict[str, str]]:
    """The spellings of a page: part of a name on disk → what the page has there. Empty where there are none."""
    found: list[dict[str, str]] = []
    for architecture in architectures:
        try:
            found += _of_model(model_on_meta(architecture, config))
        except Exception:  # a private part of transformers: without spellings a page is still a page
            continue
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _of_model(model: Model) -> list[dict[str, str]]:
    from transformers.conversion_mapping import get_model_conversion_mapping

    written = _names(model, None)
    current = get_model_conversion_mapping(model, add_legacy=False)
    legacy = get_model_conversion_mapping(model, add_legacy=True)
    usual = _without_prefix_changes(legacy)
    once = _put_back_once(usual)
    saved = [_names(model, conversions) for conversions in (current, usual)]
    if len(once) < len(usual) and _read_alike(legacy, names := _names(model, once), written):
        saved.append(names)
    found = []
    for names in saved:
        spelling = spelled(zip(names, written, strict=True)) if len(names) == len(written) else None
        if spelling is not None and dict(spelling.rewrites) not in found:
            found.append(dict(spelling.rewrites))
    found += [dict(spelling.rewrites) for spelling in _read_by_hooks(model)]
    stem = model.base_model_prefix
    body = getattr(model, stem, None) if stem else None
    if body is not None and {f"{stem}.{name}" for name in _names(body, None)} <= set(written):
        found.append({"": f"{stem}."})
    return found


def saving_conversions(model: Model) -> list[WeightConversion]:
    """What is undone when a model is saved that was not loaded from anywhere."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    return _without_prefix_changes(get_model_conversion_mapping(model, add_legacy=False))


def _without_prefix_changes(conversions: Iterable[WeightConversion]) -> list[WeightConversion]:
    from transformers import core_model_loading

    prefixes = getattr(core_model_loading, "PrefixChange", ())  # not in the first versions 5
    return [c for c in conversions if not isinstance(c, prefixes)]


def _put_back_once(conversions: Sequence[WeightConversion]) -> list[WeightConversion]:
    """The conversions without those of an inner model that rename what the outer model renames.

    Both are undone in a fresh model's names, one after the other, so a part of them is there twice
    (`language_model.model.model.` of the audio models). Loading takes it once as well, as it was published.
    """
    inner = [getattr(c, "scope_prefix", None) is not None for c in conversions]
    outer = [
        c._original_source_patterns for c, is_inner in zip(conversions, inner, strict=True) if not is_inner
    ]
    return [
        c
        for c, is_inner in zip(conversions, inner, strict=True)
        if not is_inner or c._original_source_patterns not in outer
    ]


def _read_alike(conversions: Sequence[WeightConversion], names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether loading with these conversions takes the tensors of both lists for the same, one by one."""
    from transformers.core_model_loading import WeightConverter, rename_source_key

    converters = [c for c in conversions if isinstance(c, WeightConverter)]
    renamings = [c for c in conversions if not isinstance(c, WeightConverter)]
    read, other = ([rename_source_key(n, renamings, converters) for n in some] for some in (names, others))
    return read == other


def _read_by_hooks(model: Model) -> Iterator[Spelling]:
    """What modules rename by code of their own when they load: Mamba's `embedding.`."""
    names = sorted(model.state_dict())
    hooked = [(f"{n}." if n else "", m) for n, m in model.named_modules() if m._load_state_dict_pre_hooks]
    sources = {inspect.getsource(type(module)) for _, module in hooked}
    for old, new in dict.fromkeys(pair for source in sorted(sources) for pair in _REPLACED.findall(source)):
        disk = [name.replace(new, old) for name in names]
        state: dict[str, object] = dict.fromkeys(disk)
        for prefix, module in hooked:
            for hook in module._load_state_dict_pre_hooks.values():
                hook(state, prefix, {}, True, [], [], [])
        spelling = spelled(zip(disk, names, strict=True)) if sorted(state) == names != disk else None
        if spelling is not None:
            yield spelling


def _names(model: Model, conversions: Sequence[WeightConversion] | None) -> list[str]:
    """The names that the tensors are saved under when loading did these conversions, in an order that never changes."""
    from transformers.core_model_loading import dot_natural_key, revert_weight_conversion

    state = dict(sorted(model.state_dict().items(), key=lambda item: dot_natural_key(item[0])))
    if conversions is not None:
        model._weight_conversions = conversions or None
    try:
        return list(revert_weight_conversion(model, state))
    finally:
        if conversions is not None:
            del model._weight_conversions


def spelled(pairs: Iterable[tuple[str, str]]) -> Spelling | None:
    """The rewrites behind (name on disk, the page's name) pairs; None where none explain all of them."""
    pairs = list(pairs)
    rewrites: dict[str, str] = {}
    for disk, ours in pairs:
        if disk != ours and Spelling.of(rewrites).read(disk) != ours:
            part, own = _difference(disk.split("."), ours.split("."))
            if rewrites.setdefault(part, own) != own:
                return None
    found = Spelling.of(rewrites)
    digits = any(character.isdigit() for pair in found.rewrites for part in pair for character in part)
    return (
        found if rewrites and not digits and all(found.read(disk) == ours for disk, ours in pairs) else None
    )


def _difference(disk: list[str], ours: list[str]) -> tuple[str, str]:
    """(part on disk, part of the page): the last part if only that differs, else all before the common end."""
    if disk[:-1] == ours[:-1]:
        return f".{'.'.join(disk[-2:])}", f".{'.'.join(ours[-2:])}"
    alike = next(i for i in range(len(disk) + 1) if disk[: i + 1] != ours[: i + 1])
    same, most = 0, min(len(disk), len(ours)) - alike
    while same < most and disk[-1 - same] == ours[-1 - same]:
        same += 1
    left = [".".join([*parts[: len(parts) - same], ""]).removeprefix(".") for parts in (disk, ours)]
    return left[0], left[1]
