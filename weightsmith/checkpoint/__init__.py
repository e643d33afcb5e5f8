"""READ: one table of tensors from any checkpoint format, from headers alone. Never imports torch."""

from weightsmith.checkpoint.table import Checkpoint, Problem, Storage, Tensor

__all__ = ["Checkpoint", "Problem", "Storage", "Tensor"]
