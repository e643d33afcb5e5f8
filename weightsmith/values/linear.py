"""Which tensors are weights of linear layers: the only ones that a ternary quantizer touches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.float_formats import FORMATS

if TYPE_CHECKING:
    from weightsmith.checkpoint import Tensor

# The publisher quantizes nn.Linear modules other than lm_head (field notes, 4). Embeddings, position tables and norms
# are no nn.Linear; heads go by several names. Only the module's own name counts: `attention.output.dense` is linear.
_NOT_LINEAR = re.compile(
    r"(^|\.)(embed\w*|\w*embeddings?|wte|wpe|shared|lm_head|\w*norm\w*|ln_\w+|\w*_ln|score)\.weight$|^output\.weight$"
)

# Fewer input channels than this cannot show a group: two equal numbers among a handful prove nothing.
SMALLEST_GROUP = 16


def is_linear(tensor: Tensor) -> bool:
    """Whether name, dtype and shape are those of a floating-point nn.Linear weight inside the network."""
    return (
        tensor.dtype in FORMATS
        and len(tensor.shape) == 2
        and tensor.shape[0] > 0
        and tensor.shape[1] > 0
        and tensor.name.split(".")[-1] == "weight"
        and not _NOT_LINEAR.search(tensor.name)
    )
