"""compressed-tensors-dequant: integer (packed or not) and 8-bit float weights of compressed-tensors to bf16.

Every weight becomes (code - zero point) * scale, in the library's own arithmetic. Layouts: compressed-tensors 0.17,
compressors/pack_quantized and naive_quantized.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.errors import ConversionRefused
from weightsmith.schemes.dequantize import CODES
from weightsmith.schemes.stated import compressed_bits, compressed_block, compressed_formats, quantization

from .dequantizer import Dequantizer
from .packed_integers import PACKED, holds_ternary_codes, packed_weight
from .scaled_codes import scale_of, scaled_weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.convert.protocol import SourceEvidence

    from .dequantizer import StoredWeight

FORMATS_READ = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized")


def _recognise(evidence: SourceEvidence) -> str | None:
    stated = quantization(evidence.config)
    if stated.get("quant_method") != "compressed-tensors" or holds_ternary_codes(evidence):
        return None
    return f"its quantization_config names compressed-tensors, format {stated.get('format')}"


def _stored_weights(evidence: SourceEvidence, dtype: str) -> Iterator[StoredWeight]:
    checkpoint, stated = evidence.checkpoint, quantization(evidence.config)
    strange = sorted(str(name) for name in compressed_formats(stated) if name not in FORMATS_READ)
    if strange:
        raise ConversionRefused(
            checkpoint.path,
            f"is in compressed-tensors' format {', '.join(strange)}",
            f"the formats that are read: {', '.join(FORMATS_READ)}",
        )
    bits, block = compressed_bits(stated), compressed_block(stated)
    for name, tensor in checkpoint.tensors.items():
        if name.endswith(PACKED):
            yield packed_weight(checkpoint, name, bits, dtype)
        elif name.endswith(".weight") and tensor.dtype in CODES:
            scale = scale_of(checkpoint, name, f"{name}_scale")
            points = checkpoint.tensors.get(f"{name}_zero_point")
            yield scaled_weight(tensor, scale, dtype, block, points)


COMPRESSED_TENSORS_DEQUANT = Dequantizer(
    name="compressed-tensors-dequant",
    recognise=_recognise,
    stored_weights=_stored_weights,
    kind="weight in a compressed-tensors layout",
    engine_scales=frozenset(
        {"input_scale", "output_scale", "input_zero_point", "output_zero_point", "k_scale", "v_scale",
         "input_global_scale"}
    ),
)  # fmt: skip
