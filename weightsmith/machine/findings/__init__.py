"""From the facts of a machine to findings: each one a pure function of the facts, the causes before what they cause.

Facts about CANN, torch_npu and vllm-ascend: docs/doctor.md, with sources. Where there is no NPU and nothing of its
stack, all that belongs to it is `absent`, which is no fault.
"""

from weightsmith.machine.findings.all import diagnose

__all__ = ["diagnose"]
