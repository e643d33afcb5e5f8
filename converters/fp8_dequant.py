"""fp8-dequant: 8-bit float weights with a scale for each block (DeepSeek: 128 x 128), or for all, to bf16.

W = q * weight_scale_inv of its block (DeepSeek-V3, inference/kernel.py, weight_dequant_kernel; transformers,
integrations/finegrained_fp8.py, Fp8Dequantize): despite its name the number is multiplied. A weight without its scale
is refused by name: left as it is, it would be off by orders of magnitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.stated import fp8_block, quantization

from .dequantizer import Dequantizer
from .scaled_codes import scale_of, scaled_weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.protocol import SourceEvidence

    from .dequantizer import StoredWeight

_DTYPES = ("F8_E4M3", "F8_E5M2")
_SUFFIXES = ("_scale_inv", "_scale")


def _recognise(evidence: SourceEvidence) -> str | None:
    found = _names(evidence.checkpoint)
    method = quantization(evidence.config).get("quant_method")
    tensors = evidence.checkpoint.tensors
    # Without a word of the config, 8-bit floats that have no scales at all are plain numbers.
    scaled = any(name + suffix in tensors for name in found for suffix in _SUFFIXES)
    if not found or not (method in ("fp8", "fbgemm_fp8") or (method is None and scaled)):
        return None
    return f"{found[0]} and {len(found) - 1} more are 8-bit floats"


def _stored_weights(evidence: SourceEvidence, dtype: str) -> Iterator[StoredWeight]:
    checkpoint, block = evidence.checkpoint, fp8_block(quantization(evidence.config))
    for name in _names(checkpoint):
        scale = scale_of(checkpoint, name, *(name + suffix for suffix in _SUFFIXES))
        yield scaled_weight(checkpoint.tensors[name], scale, dtype, block)


def _names(checkpoint: Checkpoint) -> list[str]:
    return [n for n, t in checkpoint.tensors.items() if t.dtype in _DTYPES and len(t.shape) >= 2]


FP8_DEQUANT = Dequantizer(
    name="fp8-dequant",
    recognise=_recognise,
    stored_weights=_stored_weights,
    kind="8-bit float weights",
    engine_scales=frozenset({"activation_scale", "input_scale", "act_scale", "k_scale", "v_scale"}),
)
