"""Which other names transformers takes for a family's tensors: those that published checkpoints have.

Its loading renames what it no longer writes. A model that was loaded from such a checkpoint is saved under the old
names again, a fresh one is not, so what a fresh model would be saved as is compared with either (core_model_loading,
conversion_mapping of transformers 5). A body that was saved without its head lacks the head's name for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightsmith.shapes.learn.reference import Rejected, model_on_meta
from weightsmith.shapes.spellings import spelled

if TYPE_CHECKING:
    from collections.abc import Iterable


def published(architectures: Iterable[str], config: Any) -> list[dict[str, str]]:
    """The spellings of a page: part of a name on disk → what the page has there. Empty where there are none."""
    found: list[dict[str, str]] = []
    for architecture in architectures:
        try:
            found += _of_model(model_on_meta(architecture, config))
        except Rejected:
            continue
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _of_model(model: Any) -> list[dict[str, str]]:
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import PrefixChange

    written = _names(model, None)
    current = get_model_conversion_mapping(model, add_legacy=False)
    legacy = get_model_conversion_mapping(model, add_legacy=True)
    found = []
    for conversions in (current, [c for c in legacy if not isinstance(c, PrefixChange)]):
        names = _names(model, conversions)
        spelling = spelled(zip(names, written, strict=True)) if len(names) == len(written) else None
        if spelling is not None:
            found.append(dict(spelling.rewrites))
    stem = model.base_model_prefix
    body = getattr(model, stem, None) if stem else None
    if body is not None and {f"{stem}.{name}" for name in _names(body, None)} <= set(written):
        found.append({"": f"{stem}."})
    return found


def _names(model: Any, conversions: list[Any] | None) -> list[str]:
    """What the tensors are saved as, in an order that does not depend on it, when loading did these conversions."""
    from transformers.core_model_loading import dot_natural_key, revert_weight_conversion

    state = dict(sorted(model.state_dict().items(), key=lambda item: dot_natural_key(item[0])))
    if conversions is not None:
        model._weight_conversions = conversions or None
    try:
        return list(revert_weight_conversion(model, state))
    finally:
        if conversions is not None:
            del model._weight_conversions
