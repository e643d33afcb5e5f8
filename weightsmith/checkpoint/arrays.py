"""Names for numpy arrays by what their elements are. Needs numpy, and is therefore imported by itself."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# An array, or an element type, that only the file tells: a type checker cannot know more.
Array: TypeAlias = NDArray[Any]
ArrayType: TypeAlias = np.dtype[Any]
# Elements of a float format as the unsigned integers of the same width: their bit patterns.
Bits: TypeAlias = NDArray[np.unsignedinteger[Any]]
BitsType: TypeAlias = np.dtype[np.unsignedinteger[Any]]
Singles: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
