"""What lies beside a run's weights: the folder with the model's config, and what that says of its heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import is_there

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.place import Place

_CONFIG = "config.json"
# verl's place for it.
_INNER = "huggingface"


def folder_beside(root: Place) -> Place | None:
    """The folder with the config of weights that have none of their own: one inside, or the one above, where trainers
    keep it beside the folders of their steps; None where there is none.
    """
    if is_there(root / _CONFIG):
        return None
    for folder in (root / _INNER, root.resolve().parent):
        if is_there(folder / _CONFIG):
            return folder
    return None


def head_width(config: Mapping[str, object]) -> int | None:
    """Width of an attention head as a config states it; None where it does not."""
    width, hidden, heads = (config.get(key) for key in ("head_dim", "hidden_size", "num_attention_heads"))
    if type(width) is int and width > 0:
        return width
    if type(hidden) is int and type(heads) is int and heads > 0 and hidden % heads == 0:
        return hidden // heads
    return None
