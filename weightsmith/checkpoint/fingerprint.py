"""What a result of the headers alone rests on, as hashes: small files beside the weights, and the table of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import new_hasher
from weightsmith.checkpoint.small_file import read_small
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Checkpoint

_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
# The index of a 91,000-tensor model has 10 MB.
_LARGEST = 16 << 20
# Of a few MB: Python has it, and starts no library for it.
_HASH = "sha256"
# The name of the table among those of files.
TABLE = "tensors"


def fingerprint(checkpoint: Checkpoint) -> dict[str, str]:
    """`sha256:` and the hash, by file; under TABLE that of the names, dtypes and shapes of all tensors, in their order.

    A file that is absent or cannot be read has none.
    """
    found = {}
    for name in _FILES:
        try:
            found[name] = _hash(read_small(checkpoint.root / name, _LARGEST))
        except WeightsmithError:
            continue
    rows = (f"{t.name}\t{t.dtype}\t{','.join(map(str, t.shape))}" for t in checkpoint.tensors.values())
    return {**found, TABLE: _hash("\n".join(rows).encode("utf-8", "surrogatepass"))}


def _hash(data: bytes) -> str:
    hasher = new_hasher(_HASH)
    hasher.update(memoryview(data))
    return f"{_HASH}:{hasher.hexdigest()}"
