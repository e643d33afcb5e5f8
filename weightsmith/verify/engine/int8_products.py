"""Whether a CPU engine multiplies int8 codes exactly.

Without VNNI the vector unit multiplies bytes in pairs and adds each pair in 16 bits, which saturate (`vpmaddubsw`;
oneDNN's guide to int8 says so of AVX2): 2 x 127 x 255 does not fit. vLLM's kernel for W8A8 then errs by a tenth where
codes are large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

ROWS, DEPTH, COLUMNS = 8, 256, 32
_LARGEST = 127


def int8_error(model: nn.Module) -> float | None:
    """How far products are off that the engine's int8 kernel makes of full-range codes; None where no layer uses it.

    |made - exact| / |exact|, by the Frobenius norm. Sound kernels, which add in 32 bits, lie below 1e-6.
    """
    return measured() if any(_uses_the_kernel(module) for module in model.modules()) else None


def measured() -> float:
    """The same of the kernel itself, without a model. Raises AttributeError where vLLM has no such kernel."""
    import torch
    from vllm import _custom_ops as ops

    numbers = torch.Generator().manual_seed(0)
    weight, codes = (
        torch.randint(-_LARGEST, _LARGEST + 1, shape, generator=numbers, dtype=torch.int8)
        for shape in ((COLUMNS, DEPTH), (ROWS, DEPTH))
    )
    ones = torch.ones(COLUMNS, 1)
    kernel = ops.create_onednn_scaled_mm(weight.t(), ones, torch.float32, True, False, 32)
    made = torch.empty(ROWS, COLUMNS)
    ops.onednn_scaled_mm(kernel, codes, made, torch.ones(ROWS, 1), None, None, None)
    exact = codes.double() @ weight.double().t()
    return float((made.double() - exact).norm() / exact.norm())


def _uses_the_kernel(module: nn.Module) -> bool:
    """Its handle is kept by the kernel, which vLLM keeps at the layer's scheme or at its method."""
    return any(hasattr(kernel, "dnnl_handler") for kernel in _kernels(module))


def _kernels(module: nn.Module) -> Iterator[object]:
    for place in ("scheme", "quant_method"):
        yield getattr(getattr(module, place, None), "kernel", None)
