"""ACT: a checked output folder from any readable checkpoint. Plan, validate, execute, metadata last. No torch."""

from weightsmith.convert.conversion import Conversion, Counts
from weightsmith.convert.run import convert

__all__ = ["Conversion", "Counts", "convert"]
