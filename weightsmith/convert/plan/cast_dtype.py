"""The dtypes that weights can be cast to, by the names that people give them."""

from __future__ import annotations

from weightsmith.checkpoint.dtypes import TORCH_NAMES, safetensors_name
from weightsmith.errors import ConversionRefused

CAST_DTYPES = ("BF16", "F16", "F32")


def parse_dtype(text: str | None) -> str | None:
    """A safetensors dtype name from what the user wrote. Raises ConversionRefused for others."""
    if text is None:
        return None
    dtype = safetensors_name(text)
    if dtype not in CAST_DTYPES:
        known = ", ".join(TORCH_NAMES[name] for name in CAST_DTYPES)
        raise ConversionRefused("--dtype", f"{text!r} cannot be cast to", f"choose from {known}")
    return dtype
