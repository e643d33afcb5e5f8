"""Faults of a config that no shape decides: code files that are absent, side files that disagree, RoPE lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.checkpoint.config_file import CONFIG
from weightsmith.shapes.beside.json_files import stated_ids
from weightsmith.shapes.given.config import lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.value import Value

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
# Lists of LongRoPE, counted here and not by the page: `partial_rotary_factor` is no whole number.
ROPE_FACTORS = ("short_factor", "long_factor")


def lint(
    config: JsonObject | None,
    generation: JsonObject,
    root: Place,
    values: Mapping[str, Value],
) -> Iterator[Problem]:
    """Problems of `config` beside its sizes.

    generation: generation_config.json, empty when absent. root: the checkpoint's folder. values: the derived
    fields.
    """
    if config is None:
        return
    yield from _code_files(config, root)
    yield from _generation(config, generation)
    yield from _rope_lists(config, values)


def _code_files(config: JsonObject, root: Place) -> Iterator[Problem]:
    """`auto_map` names modules that must lie beside the weights, unless another repository is named."""
    named = config.get("auto_map")
    for targets in named.values() if isinstance(named, dict) else ():
        for target in targets if isinstance(targets, list) else [targets]:
            if not isinstance(target, str) or "--" in target or "." not in target:
                continue
            file = target.rpartition(".")[0].replace(".", "/") + ".py"
            if not _is_file(root / file):
                yield Problem(
                    "auto-map", f"auto_map names {target}, but {file} is not in the folder", file=CONFIG
                )


def _is_file(path: Place) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def _generation(config: JsonObject, generation: JsonObject) -> Iterator[Problem]:
    """Generation may stop at more tokens than the config knows, not at others."""
    text = config.get("text_config")
    for key in _TOKENS:
        own = config.get(key, text.get(key) if isinstance(text, dict) else None)
        mine, theirs = stated_ids(own), stated_ids(generation.get(key))
        if mine and theirs and not mine <= theirs:
            yield Problem(
                "generation-config",
                f"{key} is {own} in config.json and {generation[key]} in generation_config.json",
                file="generation_config.json",
            )


def _rope_lists(config: JsonObject, values: Mapping[str, Value]) -> Iterator[Problem]:
    """LongRoPE has one factor per pair of rotated channels of a head."""
    for prefix in ("", "text_config."):
        pairs = _rotated_pairs(prefix, config, values)
        for owner in ("rope_scaling", "rope_parameters"):
            for name in (f"{prefix}{owner}.{factor}" for factor in ROPE_FACTORS):
                stated = lookup(config, name)[1]
                if isinstance(stated, list) and pairs is not None and len(stated) != pairs:
                    message = f"{name} has {len(stated)} entries where a head rotates {pairs} pairs"
                    yield Problem("list-length", message, stops_loader=True, file=CONFIG)


def _rotated_pairs(prefix: str, config: JsonObject, values: Mapping[str, Value]) -> int | None:
    """Of a head with a part of its own for positions (MLA) only that is rotated; None where no size is known."""
    hidden, heads = values.get(f"{prefix}hidden_size"), values.get(f"{prefix}num_attention_heads")
    head = values.get(f"{prefix}qk_rope_head_dim") or values.get(f"{prefix}head_dim")
    if not head and isinstance(hidden, int) and isinstance(heads, int) and heads:
        head = hidden // heads
    places = ("", "rope_parameters.", "rope_scaling.")
    stated = (lookup(config, f"{prefix}{place}partial_rotary_factor")[1] for place in places)
    default = values.get(f"{prefix}partial_rotary_factor")
    share = next((s for s in (*stated, default) if isinstance(s, int | float) and 0 < s <= 1), 1)
    return int(head * share) // 2 if isinstance(head, int) else None
