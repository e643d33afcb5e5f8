"""The names that people give to the dtypes which a checkpoint can be cast to."""

from __future__ import annotations

from weightsmith.errors import ConversionRefused

_NAMES = {
    "BF16": ("bf16", "bfloat16"),
    "F16": ("f16", "fp16", "float16", "half"),
    "F32": ("f32", "fp32", "float32", "float"),
}
_SAFETENSORS = {alias: dtype for dtype, aliases in _NAMES.items() for alias in aliases}

# What `torch_dtype` and `dtype` in a config.json call them.
CONFIG_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def parse_dtype(text: str | None) -> str | None:
    """A safetensors dtype name from what the user wrote. Raises ConversionRefused for others."""
    if text is None:
        return None
    dtype = _SAFETENSORS.get(text.lower().removeprefix("torch."))
    if dtype is None:
        raise ConversionRefused(
            "--dtype", f"{text!r} cannot be cast to", "choose from bfloat16, float16, float32"
        )
    return dtype
