"""One module per converter. BUILT_IN lists them; the first is the one that fits any source."""

from .compressed_tensors import CompressedTensors
from .fp8_dequant import Fp8Dequant
from .hrm_text import HrmText
from .mxfp4_dequant import Mxfp4Dequant
from .plain import Plain
from .ternary import Ternary
from .unpack import Unpack

BUILT_IN = (Plain(), Ternary(), HrmText(), Unpack(), Fp8Dequant(), Mxfp4Dequant(), CompressedTensors())

__all__ = ["BUILT_IN"]
