"""One module per converter. BUILT_IN lists them; the first is the one that fits any source."""

from .hrm_text import HrmText
from .plain import Plain
from .ternary import Ternary

BUILT_IN = (Plain(), Ternary(), HrmText())

__all__ = ["BUILT_IN"]
