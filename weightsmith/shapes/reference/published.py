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
    from transformers import core_model_loading
    from transformers.conversion_mapping import get_model_conversion_mapping

    prefixes = getattr(core_model_loading, "PrefixChange", ())  # not in the first versions 5
    written = _names(model, None)
    current = get_model_conversion_mapping(model, add_legacy=False)
    legacy = get_model_conversion_mapping(model, add_legacy=True)
    found = []
    for conversions in (current, [c for c in legacy if not isinstance(c, prefixes)]):
        names = _names(model, conversions)
        spelling = spelled(zip(names, written, strict=True)) if len(names) == len(written) else None
        if spelling is not None:
            found.append(dict(spelling.rewrites))
    found += [dict(spelling.rewrites) for spelling in _read_by_hooks(model)]
    stem = model.base_model_prefix
    body = getattr(model, stem, None) if stem else None
    if body is not None and {f"{stem}.{name}" for name in _names(body, None)} <= set(written):
        found.append({"": f"{stem}."})
    return found


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
