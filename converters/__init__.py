"""One module per converter, and the pieces that they share. BUILT_IN lists them.

The first is the one that fits any source.
"""

from .compressed_tensors import COMPRESSED_TENSORS_DEQUANT
from .fp8_dequant import FP8_DEQUANT
from .hrm_text import HrmText
from .lora import Lora
from .modelslim import ModelSlim
from .mxfp4_dequant import MXFP4_DEQUANT
from .plain import Plain
from .ternary import Ternary
from .unpack import UNPACK

BUILT_IN = (
    Plain(),
    Ternary(),
    HrmText(),
    UNPACK,
    Lora(),
    ModelSlim(),
    FP8_DEQUANT,
    MXFP4_DEQUANT,
    COMPRESSED_TENSORS_DEQUANT,
)

__all__ = ["BUILT_IN"]
