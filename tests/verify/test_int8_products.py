"""What a CPU's int8 kernel does to full codes, told by the kernel and known from the processor."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.verify.processor import adds_bytes_in_32_bits
from weightsmith.verify.engine import int8_products


@pytest.mark.engine
def test_products_are_exact_where_the_processor_adds_in_32_bits_and_only_there() -> None:
    platforms = pytest.importorskip("vllm.platforms")
    platforms.current_platform.import_kernels()
    error = int8_products.measured()
    assert (error < 1e-6) == adds_bytes_in_32_bits()
    assert error < 1e-6 or error > 0.05


def test_a_model_without_the_kernel_is_not_asked() -> None:
    plain = torch.nn.Sequential(torch.nn.Linear(4, 4))
    plain[0].quant_method = SimpleNamespace(kernel=SimpleNamespace())
    assert int8_products.int8_error(plain) is None
