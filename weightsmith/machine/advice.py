"""The doctor's word for a command that failed on a machine meant for an NPU: the root cause, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.machine.findings import diagnose
from weightsmith.machine.reading import pythons, read_machine, surroundings
from weightsmith.machine.reading.disk import HERE

if TYPE_CHECKING:
    from weightsmith.machine.diagnosis import Finding


def root_cause() -> Finding | None:
    """What the doctor would name first, as far as it fails; None on a sound machine, and at once on one that has no NPU
    and none of its software. Takes half a minute at most where imports hang."""
    packages = pythons.this().packages
    chips = any(node.is_chip for node in surroundings.nodes(HERE))
    if not chips and not {"torch-npu", "vllm-ascend"} & packages.keys():
        return None
    return next((root for root in diagnose(read_machine()).roots if root.verdict == "fail"), None)
