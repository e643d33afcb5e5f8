"""Words that a model's source compares its config fields with. They are values to try; building decides."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from typing import TYPE_CHECKING

from weightsmith.shapes.reference.meta_models import model_class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.shapes.reference.untyped import ConfigObject

_MAX_WORDS = 12
# A number that a class takes out of what it is given, or a size that may be null.
_POPPED = re.compile(
    r"""kwargs\.(?:pop|get)\(["'](\w+)["'], (\d+)\)"""
    r"""|kwargs\.pop\(["'](\w*(?:dim|heads|size|layers|rank|experts)\w*)["'], None\)"""
)
_QUOTIENT = re.compile(r"(?:config|self)\.(\w+) // (?:config|self)\.(\w+)")


@cache
def words(class_name: str) -> dict[str, tuple[str, ...]]:
    """Field (or loop variable) name → the string constants that the class's modules compare it with."""
    found: dict[str, dict[str, None]] = {}
    for source in _sources(class_name):
        tree = ast.parse(source)
        for node in ast.walk(tree):
            for name, word in _compared(node):
                for alias in _aliases(name):
                    found.setdefault(alias, {})[word] = None
    return {name: tuple(texts)[:_MAX_WORDS] for name, texts in found.items()}


@cache
def quotients(class_name: str) -> tuple[tuple[str, str], ...]:
    """(a, b) for every `config.a // config.b` in the class's modules."""
    found = (pair for source in _sources(class_name) for pair in _QUOTIENT.findall(source))
    return tuple(dict.fromkeys(found))


@cache
def _sources(class_name: str) -> tuple[str, ...]:
    sources = []
    modeling = model_class(class_name).__module__
    for module in (modeling, modeling.replace(".modeling_", ".configuration_")):
        try:
            sources.append(inspect.getsource(importlib.import_module(module)))
        except (ImportError, OSError, TypeError):
            continue
    return tuple(sources)


def hidden_fields(config: ConfigObject) -> dict[str, int | None]:
    """Settings that a config class takes and does not keep under their name: gemma4's `global_head_dim`.

    So, too, the numbers that it makes a list of: qwen3_next's `full_attention_interval`.
    """
    found: dict[str, int | None] = {}
    try:
        source = inspect.getsource(type(config))
    except (OSError, TypeError):
        return found
    for number, default, size in _POPPED.findall(source):
        if (number or size) not in vars(config):
            found[number or size] = int(default) if number else None
    for name in getattr(config, "sub_configs", {}):
        inner = vars(config).get(name)
        if hasattr(inner, "to_dict"):
            found |= {f"{name}.{key}": value for key, value in hidden_fields(inner).items()}
    return found


def _compared(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(name, word) where the node compares the name with the word, or says in another way that it takes it."""
    match node:
        case ast.Compare(left=left, comparators=others):
            yield from _in_comparison([left, *others])
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
            yield from ((name, word) for word in _in_literal_type(annotation))
        case ast.Dict(keys=keys, values=values) if all(_is_module(value) for value in values):
            for key in keys:  # {"attention": AttentionLayer, "mamba": MambaLayer}
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield "layer_type", key.value
                    yield "layers_block_type", key.value
        case ast.IfExp() | ast.ListComp():
            yield from (("layer_types", word) for word in _in_choices(node))


def _in_comparison(sides: list[ast.expr]) -> Iterator[tuple[str, str]]:
    names = [name for side in sides if (name := _last_name(side))]
    for side in sides:
        for word in _strings(side):
            yield from ((name, word) for name in names)


def _in_literal_type(annotation: ast.expr) -> Iterator[str]:
    """The words of `Literal["a", "b"]` in a type."""
    for inner in ast.walk(annotation):
        if isinstance(inner, ast.Subscript) and _last_name(inner.value) == "Literal":
            yield from _strings(inner.slice)


def _in_choices(node: ast.AST) -> Iterator[str]:
    """layer_types = ["full" if (i + 1) % 4 == 0 else "linear" for i in …]."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.IfExp):
            for side in (inner.body, inner.orelse):
                if isinstance(side, ast.Constant) and isinstance(side.value, str):
                    yield side.value


def _strings(node: ast.AST) -> Iterator[str]:
    for constant in ast.walk(node):
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
            yield constant.value


def _is_module(node: ast.AST) -> bool:
    """Whether the node names a class that is no config: dicts of sub-configs list no kinds of layers."""
    return isinstance(node, ast.Name) and not node.id.endswith("Config")


def _last_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _aliases(name: str) -> Iterator[str]:
    """The lists that a loop variable may come from: layer_type → layer_types; block_type → layers_block_type."""
    yield name
    yield f"{name}s"
    if name.endswith("_type"):
        yield from (f"layers_{name}", "layer_types", "mlp_layer_types", "layers_block_type")
