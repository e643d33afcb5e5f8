"""Reads operator signatures out of a torch_npu wheel: they stand as text in its libraries."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OPERATORS = (
    "npu_fused_infer_attention_score",
    "npu_fused_infer_attention_score.out",
    "_npu_fused_infer_attention_score_get_max_workspace",
    "npu_fusion_attention",
    "_npu_reshape_and_cache",
    "_npu_rotary_embedding",
    "npu_rms_norm",
    "npu_swiglu",
)
_LIBRARIES = ("torch_npu/lib/libtorch_npu.so", "torch_npu/lib/libop_plugin_atb.so")


def schemas(wheel: Path) -> dict[str, str]:
    """Operator name → schema text. Raises KeyError naming an operator that the wheel does not publish."""
    found: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        for library in _LIBRARIES:
            data = archive.read(library)
            for name in OPERATORS:
                # A schema, not the C++ signature beside it: that one says SymIntArrayRef.
                pattern = (
                    rb"(?<![\w.])(" + re.escape(name).encode() + rb"\((?:(?!ArrayRef)[ -~])*\) -> [ -~]*)\x00"
                )
                if match := re.search(pattern, data):
                    found.setdefault(name, match[1].decode())
    for name in OPERATORS:
        if name not in found:
            raise KeyError(f"{wheel.name} publishes no {name}")
    return found
