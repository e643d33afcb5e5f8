"""How many parts a tensor of a training run may be taken apart into: a few bytes can state any number of rows."""

from __future__ import annotations

from weightsmith.checkpoint.layout import MOST_TENSORS
from weightsmith.errors import HostileCheckpoint

# Far beyond published models: 128 layers, 2,048 experts, 256 heads.
MOST_LAYERS, MOST_EXPERTS, MOST_HEADS = 10_000, 20_000, 10_000
_WAY_OUT = "do not trust it; get it from a source that you trust"


def need_few(subject: object, count: int, most: int, what: str) -> None:
    """Raises HostileCheckpoint where a tensor would be taken apart into more than so many of something."""
    if count > most:
        raise HostileCheckpoint(subject, f"states {count:,} {what}, more than {most:,}", _WAY_OUT)


def need_few_tensors(subject: object, count: int) -> None:
    """Raises HostileCheckpoint where more tensors would be made than any checkpoint has."""
    need_few(subject, count, MOST_TENSORS, "tensors")
