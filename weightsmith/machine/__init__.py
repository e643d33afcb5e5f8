"""What is wrong with this machine's NPU stack, and the command that mends it. Installs and changes nothing."""

from weightsmith.machine.diagnosis import Diagnosis, Finding
from weightsmith.machine.facts import Facts
from weightsmith.machine.findings import diagnose
from weightsmith.machine.reading import read_machine

__all__ = ["Diagnosis", "Facts", "Finding", "diagnose", "read_machine"]
