"""How an engine keeps the states of Mamba layers and of linear attention, read out of its sources."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from weightsmith.machine.engines.syntax import assigned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.machine.engines.read_models import Models, Tree

_ARRANGED = "vllm/model_executor/models/config.py"
_MODEL, _PLATFORM = "vllm/config/model.py", "vllm/platforms/interface.py"
_MAMBA2 = "vllm/model_executor/layers/mamba/mamba_mixer2.py"
_ON_ASCEND = "vllm_ascend/patch/platform/patch_mamba_config.py"
# Settings of a config in which a model says in what its states are held.
_DTYPES = ("mamba_ssm_cache_dtype", "mamba_ssm_dtype")


def of_vllm(tree: Tree, models: Models) -> dict[str, object]:
    """state_dtypes: architecture → [the setting that says what its states are held in, what holds without it].

    states_cached: whether prefixes of such models are cached unless told otherwise; None: not said. every_state:
    architectures of which the state after each block is then kept. mamba2_checkpoints: whether a sequence then holds
    one block more where the layers are Mamba 2. block_of_backend: whether blocks grow by the size
    that the backend of attention works with, and not by 16 tokens.
    """
    arranged = tree(_ARRANGED)
    return {
        "state_dtypes": dict(sorted(_state_dtypes(arranged))),
        "states_cached": _cached(tree(_MODEL)),
        "every_state": sorted(models.made_from("SupportsMambaPrefixCaching"))
        if _can_keep_all(arranged)
        else [],
        "mamba2_checkpoints": _checkpoints(tree(_MAMBA2)),
        "block_of_backend": _defines(tree(_PLATFORM), "_align_hybrid_block_size"),
    }


def of_vllm_ascend(tree: Tree) -> dict[str, object]:
    """keys_fill_states: whether the keys of a block must be exactly as large as a state."""
    compared = (node for node in ast.walk(tree(_ON_ASCEND)) if isinstance(node, ast.Assert))
    return {"keys_fill_states": any("ssm_block_page_size" in ast.unparse(node.test) for node in compared)}


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _state_dtypes(arranged: ast.Module) -> Iterator[tuple[str, list[str | None]]]:
    classes, table = _classes(arranged), assigned(arranged, "MODELS_CONFIG_MAP")
    if not isinstance(table, ast.Dict):
        return
    for key, value in zip(table.keys, table.values, strict=True):
        said = _dtype_setting(classes, getattr(value, "id", ""))
        if said is not None and isinstance(key, ast.Constant):
            yield str(key.value), said


def _dtype_setting(
    classes: dict[str, ast.ClassDef], name: str, seen: frozenset[str] = frozenset()
) -> list[str | None] | None:
    """`getattr(config, "mamba_ssm_dtype", None)` in a class, or in one that it is made from or calls."""
    node = classes.get(name)
    if node is None or name in seen:
        return None
    for call in (one for one in ast.walk(node) if isinstance(one, ast.Call)):
        words = [one.value if isinstance(one, ast.Constant) else one for one in call.args]
        if getattr(call.func, "id", "") == "getattr" and len(words) == 3 and words[1] in _DTYPES:
            default = words[2] if not isinstance(words[2], ast.Attribute) else _own(node, words[2].attr)
            return [str(words[1]), None if default is None else str(default)]
    others = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and one.id in classes]
    found = (_dtype_setting(classes, other, seen | {name}) for other in others)
    return next((one for one in found if one is not None), None)


def _own(node: ast.ClassDef, name: str) -> object:
    """The constant that a class gives to a name of its own."""
    value = assigned(ast.Module(node.body, []), name)
    return value.value if isinstance(value, ast.Constant) else None


def _cached(model: ast.Module) -> bool | None:
    """What `is_prefix_caching_supported` returns where `attn_type == "hybrid"`."""
    for node in ast.walk(model):
        if isinstance(node, ast.FunctionDef) and node.name == "is_prefix_caching_supported":
            for test in (one for one in ast.walk(node) if isinstance(one, ast.If)):
                if ast.unparse(test.test) == "attn_type == 'hybrid'":
                    returned = [one.value for one in test.body if isinstance(one, ast.Return)]
                    return any(isinstance(one, ast.Constant) and one.value is True for one in returned)
    return None


def _can_keep_all(arranged: ast.Module) -> bool:
    node = _classes(arranged).get("MambaModelConfig")
    return node is not None and any(
        isinstance(one, ast.Constant) and one.value == "all" for one in ast.walk(node)
    )


def _checkpoints(layer: ast.Module) -> bool:
    return any(
        isinstance(node, ast.keyword) and node.arg == "num_prefill_checkpoint_blocks"
        for node in ast.walk(layer)
    )


def _defines(tree: ast.Module, name: str) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in ast.walk(tree))
