"""Is a checkpoint sound? What the first two witnesses say of it and of the files beside it, as a list of checks."""

from weightsmith.check.reading import checked, folders_of
from weightsmith.check.result import Check, Checked, CheckedCheckpoint, Finding

__all__ = ["Check", "Checked", "CheckedCheckpoint", "Finding", "checked", "folders_of"]
