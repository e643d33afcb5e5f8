"""unpack: what `ternary --set pack=...` wrote, back to bf16, to the bit.

Codes out of {-1, 0, +1} times scales is exact, so that this is the inverse of packing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.stated import DESCRIPTION_FILE, compressed_bits, quantization

from .dequantizer import Dequantizer
from .packed_integers import holds_ternary_codes, packed_names, packed_weight
from .scaled_codes import scale_of, scaled_weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.protocol import SourceEvidence

    from .dequantizer import StoredWeight


def _recognise(evidence: SourceEvidence) -> str | None:
    checkpoint = evidence.checkpoint
    words, bytes_ = packed_names(checkpoint), _int8_names(checkpoint)
    if words and holds_ternary_codes(evidence):
        return f"{words[0]} and {len(words) - 1} more are packed, and hold the codes -1, 0 and +1 alone"
    if bytes_ and (checkpoint.root / DESCRIPTION_FILE).is_file():
        return f"{bytes_[0]} and {len(bytes_) - 1} more are int8 with scales, beside {DESCRIPTION_FILE}"
    return None


def _stored_weights(evidence: SourceEvidence, dtype: str) -> Iterator[StoredWeight]:
    checkpoint = evidence.checkpoint
    bits = compressed_bits(quantization(evidence.config))
    for name in packed_names(checkpoint):
        yield packed_weight(checkpoint, name, bits, dtype, ternary=True)
    for name in _int8_names(checkpoint):
        yield _int8_weight(checkpoint, name, dtype)


def _int8_names(checkpoint: Checkpoint) -> list[str]:
    """int8 weights with scales of their own."""
    tensors = checkpoint.tensors
    return [n for n, t in tensors.items() if t.dtype == "I8" and f"{n}_scale" in tensors]


def _int8_weight(checkpoint: Checkpoint, name: str, dtype: str) -> StoredWeight:
    """A weight of the w8a16 layout. Raises ConversionRefused when its offset is not zero."""
    scale = scale_of(checkpoint, name, f"{name}_scale")
    weight = scaled_weight(checkpoint.tensors[name], scale, dtype, ternary=True)
    offset = checkpoint.tensors.get(f"{name}_offset")
    if offset is None:
        return weight
    with TensorReader(checkpoint) as reader:
        if np.any(reader.read(offset).astype(np.float32)):
            raise ConversionRefused(
                offset.name, "is not zero: these are no ternary weights", "no converter reads them yet"
            )
    return replace(weight, parts=(*weight.parts, offset.name))


UNPACK = Dequantizer(
    name="unpack",
    recognise=_recognise,
    stored_weights=_stored_weights,
    kind="packed weights",
    left_out={DESCRIPTION_FILE: "it describes packed weights, and these are not packed any more"},
)
