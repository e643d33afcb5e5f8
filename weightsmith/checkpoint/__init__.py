"""READ: one table of tensors from any checkpoint format, from headers alone. Never imports torch.

Three modules need numpy and are therefore imported by themselves: `data` (TensorReader, which reads the values),
`arrays` (names for array types) and `float_formats`.
"""

from weightsmith.checkpoint.config_file import config_above, config_beside, config_path, readable_config
from weightsmith.checkpoint.json_file import read_json_object
from weightsmith.checkpoint.open import open_checkpoint
from weightsmith.checkpoint.sharing import shared_groups
from weightsmith.checkpoint.table import Checkpoint, Problem, Storage, Tensor

__all__ = [
    "Checkpoint",
    "Problem",
    "Storage",
    "Tensor",
    "config_above",
    "config_beside",
    "config_path",
    "open_checkpoint",
    "read_json_object",
    "readable_config",
    "shared_groups",
]
