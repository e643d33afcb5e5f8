"""The table of element types says what torch, numpy and safetensors say of the same names."""

from __future__ import annotations

import pytest
import torch

from weightsmith.checkpoint.data import numpy_dtype
from weightsmith.checkpoint.dtypes import BITS, ELEMENT_TYPES, ElementType, safetensors_name
from weightsmith.checkpoint.torch_dtypes import DTYPES, STORAGES

OF_TORCH = [e for e in ELEMENT_TYPES if e.torch is not None and hasattr(torch, e.torch)]


@pytest.mark.parametrize("element", OF_TORCH, ids=lambda element: element.torch)
def test_widths_are_those_of_torch(element: ElementType) -> None:
    assert element.torch is not None
    assert element.item_bytes == getattr(torch, element.torch).itemsize


def test_this_torch_knows_nearly_all_of_them() -> None:
    assert len(OF_TORCH) > 25


@pytest.mark.parametrize("dtype", BITS)
def test_numpy_has_a_dtype_of_the_same_width(dtype: str) -> None:
    assert numpy_dtype(dtype).itemsize == max(1, BITS[dtype] // 8)


def test_storages_count_in_dtypes_of_the_table() -> None:
    assert set(STORAGES.values()) <= DTYPES.keys()


@pytest.mark.parametrize(
    ("spelling", "dtype"),
    [("bf16", "BF16"), ("torch.bfloat16", "BF16"), ("Half", "F16"), ("fp32", "F32"), ("float", "F32"),
     ("float8_e4m3fn", "F8_E4M3"), ("uint8", "U8"), ("int9", None), ("BF16 ", None)],
)  # fmt: skip
def test_what_people_write_is_understood(spelling: str, dtype: str | None) -> None:
    assert safetensors_name(spelling) == dtype


def test_no_spelling_means_two_types() -> None:
    spellings = [name for e in ELEMENT_TYPES for name in (e.torch, *e.aliases) if name is not None]
    assert len(spellings) == len(set(spellings))
