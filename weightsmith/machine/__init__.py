"""What is wrong with this machine's NPU stack, and the command that mends it. Installs and changes nothing."""

from weightsmith.machine.diagnosis import Diagnosis, Finding
from weightsmith.machine.facts import probe_machine
from weightsmith.machine.findings import diagnose

__all__ = ["Diagnosis", "Finding", "diagnose", "probe_machine"]
