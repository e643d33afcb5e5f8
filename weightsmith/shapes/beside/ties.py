"""Whether two tensors that a config ties hold the same numbers: the one question about data that shapes asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import shared_groups

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint

_BLOCK_BYTES = 1 << 24


def same_values(checkpoint: Checkpoint, one: str, other: str) -> bool | None:
    """Compares the bytes of two tensors in blocks and stops at the first that differs; None where there are none yet.

    A head that a config ties is seldom stored, so headers are nearly always enough. Where both are stored, only their
    bytes tell whether they agree. The plan of a conversion is a table without files. Raises what `TensorReader.read`
    raises.
    """
    from weightsmith.checkpoint.data import TensorReader

    if any({one, other} <= set(group) for group in shared_groups(checkpoint)):
        return True
    a, b = checkpoint.tensors[one], checkpoint.tensors[other]
    if (a.dtype, a.shape) != (b.dtype, b.shape) or not a.elements:
        return False
    if not all((checkpoint.root / file).is_file() for file in {*a.files, *b.files}):
        return None
    rows = a.shape[0]
    step = max(1, _BLOCK_BYTES * rows // a.nbytes)
    with TensorReader(checkpoint) as reader:
        return all(
            reader.read_rows(a, start, min(start + step, rows)).tobytes()
            == reader.read_rows(b, start, min(start + step, rows)).tobytes()
            for start in range(0, rows, step)
        )
