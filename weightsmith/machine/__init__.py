"""The machine: what is wrong with its NPU stack, and the command that mends it. It installs and changes nothing."""

from weightsmith.machine.diagnosis import Diagnosis, Finding
from weightsmith.machine.facts import look
from weightsmith.machine.findings import diagnose

__all__ = ["Diagnosis", "Finding", "diagnose", "look"]
