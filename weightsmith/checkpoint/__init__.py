"""READ: one table of tensors from any checkpoint format, from headers alone. Never imports torch.

`weightsmith.checkpoint.data` (TensorReader) reads the values: it needs numpy and is therefore
imported by itself.
"""

from weightsmith.checkpoint.json_file import read_json_object
from weightsmith.checkpoint.open import open_checkpoint
from weightsmith.checkpoint.sharing import shared_groups
from weightsmith.checkpoint.table import Checkpoint, Problem, Storage, Tensor

__all__ = [
    "Checkpoint",
    "Problem",
    "Storage",
    "Tensor",
    "open_checkpoint",
    "read_json_object",
    "shared_groups",
]
