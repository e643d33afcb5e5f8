"""All findings of a machine in order, their causes, and the one line that they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.foreign_text import shortened
from weightsmith.machine.diagnosis import Diagnosis, Finding, resolved
from weightsmith.machine.findings import chips, imports, layers, surroundings, versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.machine.facts import Facts

# What can cause stands before what it can cause: see `diagnosis.resolved`.
_QUESTIONS: tuple[Callable[[Facts], Finding], ...] = (
    surroundings.interpreter,
    surroundings.account,
    chips.device_files,
    chips.permission,
    layers.variables,
    layers.cann,
    layers.driver,
    layers.nnal,
    chips.npu_smi,
    chips.visible,
    chips.health,
    chips.memory,
    chips.chip,
    versions.vllm_ascend,
    versions.vllm,
    versions.torch,
    versions.torch_npu,
    versions.torchvision,
    versions.torchaudio,
    versions.transformers,
    versions.numpy,
    versions.triton,
    versions.python,
    layers.cann_version,
    layers.nnal_version,
    layers.driver_version,
    layers.operators,
    imports.torchcodec,
    imports.import_torch_npu,
    imports.import_torch,
    imports.torchvision_import,
    imports.import_vllm,
    imports.import_vllm_ascend,
    imports.compiled,
    imports.platform,
    chips.devices,
    imports.operator,
    surroundings.shared_memory,
    surroundings.ports,
    surroundings.variables,
    surroundings.adapter,
)

# Characters of a cause in the conclusion, which is one line.
_LONGEST = 200
# What only some uses need.
_OPTIONAL = ("determinism", "hrm-text adapter")


def diagnose(facts: Facts) -> Diagnosis:
    """The answer to every question, which of them follow from others, and the conclusion."""
    findings = [question(facts) for question in _QUESTIONS]
    findings += surroundings.deterministic(facts)
    diagnosis = Diagnosis(resolved(findings))
    return Diagnosis(diagnosis.checks, _conclusion(facts, diagnosis))


def _conclusion(facts: Facts, diagnosis: Diagnosis) -> str:
    failed = [root for root in diagnosis.roots if root.verdict == "fail"]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"Not ready: {failed[0].name}: {shortened(failed[0].found, _LONGEST)}{more}"
    if not facts.is_meant_for_npu:
        return _elsewhere(facts)
    count, name = facts.counted, chips.chip_name(facts)
    release = facts.packages.get("vllm-ascend")
    if release and count:
        odd = [root.name for root in diagnosis.roots if root.name not in _OPTIONAL]
        look = f" (look at: {', '.join(odd)})" if odd else ""
        return f"Ready for vllm-ascend {release} on {count} × {name}{look}"
    if not facts.chips:
        return "No Ascend chip here, though some of its software is installed"
    return f"{len(facts.chips)} Ascend chips, and no vllm-ascend to serve with"


def _elsewhere(facts: Facts) -> str:
    """What serves instead, as vLLM itself chose."""
    device = facts.told("vllm", "device")
    if device:
        return f"No Ascend machine; --device {device} works here"
    return "No Ascend machine, and no vLLM: verify-on-npu cannot run here"
