"""One module per converter, and the pieces that they share. BUILT_IN lists them.

The first is the one that fits any source.
"""

from .dequant import DEQUANT
from .hrm_text import HrmText
from .lora import Lora
from .modelslim import ModelSlim
from .plain import Plain
from .ternary import Ternary
from .training import Training

# Names of converters that are now one.
OLD_NAMES = dict.fromkeys(
    ("unpack", "fp8-dequant", "mxfp4-dequant", "compressed-tensors-dequant"), DEQUANT.name
)
BUILT_IN = (Plain(), Ternary(), HrmText(), DEQUANT, Lora(), ModelSlim(), Training())

__all__ = ["BUILT_IN", "OLD_NAMES"]
