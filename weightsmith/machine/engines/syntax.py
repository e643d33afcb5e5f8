"""What a syntax tree says at its top: nothing is imported, nothing is run."""

from __future__ import annotations

import ast


def assigned(tree: ast.Module, name: str) -> ast.expr | None:
    """The value that the module gives to a name at its top."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return getattr(node, "value", None)
    return None
