"""Lets the numbers settle what the shapes leave open: the second witness is asked, and the first is asked again."""

from weightsmith.settle.settling import settled
from weightsmith.settle.wanted import could_settle

__all__ = ["could_settle", "settled"]
