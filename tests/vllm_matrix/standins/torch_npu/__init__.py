"""Stand-in for torch_npu: enough of its names for the real vllm_ascend to run its attention on a CPU.

Names that were never asked for in earnest are inert; operators that are missing raise at their call, so nothing is
silently a no-op that computes.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

from torch_npu import device as _device
from torch_npu.operators import (
    _npu_fused_infer_attention_score_get_max_workspace,
    _npu_reshape_and_cache,
    _npu_rotary_embedding,
    npu_fused_infer_attention_score,
    npu_rms_norm,
    npu_swiglu,
)
from torch_npu.schemas import calls

__all__ = [
    "_npu_fused_infer_attention_score_get_max_workspace",
    "_npu_reshape_and_cache",
    "_npu_rotary_embedding",
    "calls",
    "npu",
    "npu_fused_infer_attention_score",
    "npu_rms_norm",
    "npu_swiglu",
]
__version__ = "0.stand-in"

npu = _device.install()


class _Inert(ModuleType):
    """A module of which every name is inert."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _device.Inert


class _C(_Inert):
    @staticmethod
    def _weak_ref_tensor(tensor: torch.Tensor) -> torch.Tensor:
        return tensor


def _module(name: str, kind: type[ModuleType] = _Inert) -> ModuleType:
    module = kind(name)
    module.__spec__ = ModuleSpec(name, loader=None, is_package=True)
    module.__path__ = []  # type: ignore[attr-defined]
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    setattr(sys.modules[parent], child, module)
    return module


for _name in (
    "torch_npu.op_plugin",
    "torch_npu.op_plugin.atb",
    "torch_npu.op_plugin.atb._atb_ops",
    "torch_npu.profiler",
    "torch_npu.profiler.dynamic_profile",
    "torch_npu._inductor",
    "torch_npu.multiprocessing",
    "torch_npu.multiprocessing.reductions",
):
    _module(_name)
_module("torch_npu._C", _C)
_module("torch_npu._C._distributed_c10d")

float8_e8m0fnu = float4_e2m1fn_x2 = hifloat8 = torch.uint8


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"the stand-in has no torch_npu.{name}")

    return missing
