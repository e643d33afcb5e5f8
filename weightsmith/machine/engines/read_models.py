"""What the classes of an engine's models are made from, read out of its sources."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MODELS = "vllm.model_executor.models"

Tree: TypeAlias = "Callable[[str], ast.Module]"


class Models:
    """The models of a registry. tree: the syntax tree of a file of the wheel, by its path; empty where it has none."""

    def __init__(self, tree: Tree, registry: ast.Module) -> None:
        self._tree = cache(tree)
        self._made_from = cache(self._look)
        self.classes = dict(_registered(registry))

    def made_from(self, parent: str, *, surely: bool = True) -> Iterator[str]:
        """The architectures whose class has a class of this name among those that it is made from.

        surely False: those of which that is not known count as well.
        """
        for architecture, (module, name) in self.classes.items():
            found = self._made_from(module if "." in module else f"{_MODELS}.{module}", name, parent)
            if found or (found is None and not surely):
                yield architecture

    def _look(self, module: str, name: str, parent: str) -> bool | None:
        """None: a class on the way is not found."""
        if name == parent:
            return True
        if not module.startswith("vllm"):
            return False
        body, package = self._file(module)
        node = next(
            (one for one in ast.walk(body) if isinstance(one, ast.ClassDef) and one.name == name), None
        )
        if node is None:
            found = next((one for one in ast.walk(body) if _imports(one, name)), None)
            if not isinstance(found, ast.ImportFrom):
                return None
            return self._made_from(*_source(found, package, name), parent)
        bases = [ast.unparse(base).partition("[")[0] for base in node.bases]
        said = [
            self._made_from(module, base, parent) for base in bases if "." not in base and base not in _PLAIN
        ]
        return True if any(said) else None if None in said else False

    def _file(self, module: str) -> tuple[ast.Module, str]:
        """(the tree of a module, the package that its relative imports start from)."""
        path = module.replace(".", "/")
        body = self._tree(f"{path}.py")
        return (body, module.rpartition(".")[0]) if body.body else (self._tree(f"{path}/__init__.py"), module)


# Classes that no package has to be looked into for.
_PLAIN = {"Protocol", "ABC", "object", "Generic"}


def _registered(registry: ast.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    """Architecture → (module, class), of every table of models in the registry."""
    for table in (node.value for node in registry.body if isinstance(node, ast.Assign)):
        if isinstance(table, ast.Dict):
            for key, value in zip(table.keys, table.values, strict=True):
                where = [one.value for one in getattr(value, "elts", ()) if isinstance(one, ast.Constant)]
                words = [one for one in where if isinstance(one, str)]
                if isinstance(key, ast.Constant) and len(words) == 2:
                    yield str(key.value), (words[0], words[1])


def _imports(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.ImportFrom) and any((one.asname or one.name) == name for one in node.names)


def _source(node: ast.ImportFrom, package: str, name: str) -> tuple[str, str]:
    """(module, name) of what is imported there under this name."""
    own = next(one.name for one in node.names if (one.asname or one.name) == name)
    if not node.level:
        return node.module or "", own
    origin = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
    return f"{origin}.{node.module}" if node.module else origin, own
