"""Holds every call of a stand-in operator to the signature that the real torch_npu publishes for it.

The signatures are read out of the real wheel's libraries by `environment.py` and named by WEIGHTSMITH_NPU_SCHEMAS:
JSON, operator name → schema text.
"""

from __future__ import annotations

import json
import os
from functools import cache, wraps
from pathlib import Path
from typing import Any

import torch

calls: list[tuple[str, dict[str, Any]]] = []
"""Every operator call so far: name and arguments, defaults filled in."""


@cache
def _texts() -> dict[str, str]:
    return dict(json.loads(Path(os.environ["WEIGHTSMITH_NPU_SCHEMAS"]).read_text()))


@cache
def _schema(name: str) -> Any:
    # The grammar of torch knows no `*,Tensor`, and the wheel's text has one.
    return torch._C.parse_schema("npu::" + _texts()[name].replace("*,T", "*, T"))


def bind(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults filled in. Raises TypeError where the real operator would refuse the call."""
    schema = _schema(name)
    positional = [a for a in schema.arguments if not a.kwarg_only]
    if len(args) > len(positional):
        raise TypeError(f"{name} takes {len(positional)} positional arguments and got {len(args)}")
    bound = {a.name: value for a, value in zip(positional, args, strict=False)}
    known = {a.name for a in schema.arguments}
    for key, value in kwargs.items():
        if key not in known or key in bound:
            raise TypeError(f"{name} has no argument {key}, or has it twice: {schema}")
        bound[key] = value
    for argument in schema.arguments:
        if argument.name in bound:
            _check_type(name, argument, bound[argument.name])
        elif argument.has_default_value():
            bound[argument.name] = argument.default_value
        else:
            raise TypeError(f"{name} needs {argument.name}")
    return bound


def _check_type(name: str, argument: Any, value: Any) -> None:
    kind = str(argument.type)
    if value is None and kind.startswith("Optional"):
        return
    right = True
    if kind in ("Tensor", "Optional[Tensor]"):
        right = isinstance(value, torch.Tensor)
    elif "List[int]" in kind or "SymInt" in kind:
        right = isinstance(value, (list, tuple)) and all(isinstance(v, int) for v in value)
    elif kind in ("int", "bool", "str"):
        right = isinstance(value, {"int": int, "bool": bool, "str": str}[kind])
    if not right:
        raise TypeError(f"{name}: {argument.name} is {kind} and got {type(value).__name__}")


def published(name: str) -> Any:
    """Decorator: the function receives all of the operator's arguments by name, and the call is recorded."""

    def decorate(function: Any) -> Any:
        @wraps(function)
        def operator(*args: Any, **kwargs: Any) -> Any:
            bound = bind(name, args, kwargs)
            calls.append((name, bound))
            return function(**bound)

        return operator

    return decorate
