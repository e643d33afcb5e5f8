"""The machine: what is wrong with its NPU stack, and the command that mends it. It installs and changes nothing."""

from weightsmith.doctor.checks import diagnose
from weightsmith.doctor.diagnosis import Diagnosis, Finding
from weightsmith.doctor.machine import look

__all__ = ["Diagnosis", "Finding", "diagnose", "look"]
