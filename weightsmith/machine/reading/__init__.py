"""Reads the facts of a machine: each once, from where it is stated; nothing is concluded here."""

from weightsmith.machine.reading.machine import read_machine

__all__ = ["read_machine"]
