"""Each illness is named by its cause, with the command that mends it; what follows says so; nobody else is ill."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from weightsmith.machine import Facts, Finding, diagnose
from weightsmith.machine.facts import Chip, Driver, Holder, Interpreter, Nnal, NpuSmi, Probe, User
from weightsmith.machine.releases import all_releases

from .machines import (
    ASCEND,
    ATLAS,
    LAPTOP,
    NNAL_ENV,
    NODES,
    PROBES,
    REQUIRES,
    SET_ENV,
    counted,
    nodes,
    of_release,
    smi,
    toolkit,
    with_packages,
    with_probes,
    with_variables,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"
UNLISTED = with_probes(ATLAS, torch_npu=counted(0), operator=Probe(told={"sum": None}))
REFUSED = replace(UNLISTED, npu_smi=smi(code=-8005))
UNSOURCED = replace(
    without(ATLAS, "libhccl.so", "libascendcl.so", on_disk=f"{ASCEND}/cann-9.1.0/lib64"), sourced_home=None
)
CANN_LIBRARIES = (
    "libascendcl.so",
    "libhccl.so",
    "libge_runner.so",
    "libgraph.so",
    "libacl_op_compiler.so",
    "libopapi.so",
)
NMS = Probe(
    "RuntimeError: operator torchvision::nms does not exist", through=("vllm", "transformers", "torchvision")
)
NMS_OF_GUEST = Probe(told={"torchvision": NMS.error})
UNSPECIFIED = Probe(told={"version": "0.23.0", "platform": "UnspecifiedPlatform", "device": ""})
OLD_NNAL = Nnal(f"{ASCEND}/nnal/atb", "8.2.RC1", NNAL_ENV)
FULL = Chip(0, "910B3", "OK", 57344, 65536)
COMPILER = "RuntimeError: AclSetCompileopt error code is 500001 EC0010: Failed to import Python module"


def broken(error: str, *through: str) -> Facts:
    """torch_npu cannot be imported, and all that needs it."""
    dead = Probe(error, through=through)
    return with_probes(ATLAS, torch_npu=dead, operator=dead, vllm=dead, vllm_ascend=dead)


def of_018(**versions: str) -> Facts:
    machine = with_packages(of_release("0.18.0"), **versions)
    vllm = ("torch==2.10.0", "transformers<5,>=4.56.0")
    return replace(machine, requires={**machine.requires, "vllm": vllm})


def cann(*versions: str, sourced: str) -> Facts:
    kits = tuple(toolkit(version) for version in versions)
    home = next(kit.home for kit in kits if kit.version == sourced)
    nnal = Nnal(f"{ASCEND}/nnal/atb", sourced, NNAL_ENV)
    return replace(ATLAS, toolkits=kits, sourced_home=home, nnals=(nnal,))


def triton(error: str | None, **versions: str | None) -> Facts:
    return with_probes(
        with_packages(ATLAS, **versions), guests=Probe(told={"torchvision": None, "triton": error})
    )


# What is wrong: the machine, the check that names it, its verdict, words of it, and parts of the way out.
ILL: Mapping[str, tuple[Facts, str, str, str, tuple[str, ...]]] = {
    # driver, CANN, NNAL
    "the driver is not mounted": (
        replace(without(ATLAS, "libascend_hal.so"), driver=Driver()),
        "driver", "fail", "not mounted", (f"-v {ASCEND}/driver/lib64:{ASCEND}/driver/lib64",),
    ),
    "without the driver CANN's libraries do not load either": (
        replace(
            without(ATLAS, "libascend_hal.so"),
            driver=Driver(),
            libraries=dict.fromkeys(ATLAS.libraries, "libascend_hal.so: cannot open shared object file"),
        ),
        "driver", "fail", "not mounted", ("-v ",),
    ),
    "a stand-in of the driver's library loads": (
        replace(UNLISTED, driver=Driver(), npu_smi=NpuSmi()), "driver", "fail", "a stand-in", ("-v ",)
    ),
    "half of the driver is mounted": (
        replace(without(ATLAS, "libascend_hal.so"), driver=Driver("25.5.2", "version.info")),
        "driver", "fail", "driver 25.5.2 is here, its libraries are not mounted", ("-v ",),
    ),
    "a shell without the driver": (
        without(ATLAS, "libascend_hal.so"),
        "driver", "fail", "this shell does not find its", (f"LD_LIBRARY_PATH={ASCEND}/driver/lib64/driver",),
    ),
    "an A5 needs the whole driver": (
        replace(without(ATLAS, "libascend_hal.so"), driver=Driver(), build="A5", npu_smi=smi(hung=False),
                toolkits=(toolkit("9.1.0", "ascend950"),)),
        "driver", "fail", "", (f"-v {ASCEND}/driver:{ASCEND}/driver",),
    ),
    "CANN is not sourced": (UNSOURCED, "cann", "fail", "libascendcl.so", (SET_ENV,)),
    "nothing is sourced": (
        replace(without(ATLAS, *CANN_LIBRARIES, "libascend_hal.so", "libatb.so"), sourced_home=None),
        "cann", "fail", "this shell does not find", (SET_ENV, f"source {NNAL_ENV}"),
    ),
    "CANN is in a home": (
        replace(without(ATLAS, *CANN_LIBRARIES), sourced_home=None, toolkits=(toolkit(prefix="/home/x/Ascend"),)),
        "cann", "fail", "/home/x/Ascend", ("source /home/x/Ascend/cann-9.1.0/set_env.sh",),
    ),
    "half a search path": (
        without(ATLAS, "libacl_op_compiler.so", on_disk=f"{ASCEND}/cann-9.1.0/devlib"),
        "cann", "fail", "libacl_op_compiler.so", (f"in a fresh shell: {SET_ENV}",),
    ),
    "a library that only torch_npu asks for": (
        replace(
            broken("ImportError: libruntime.so: cannot open shared object file", "torch_npu"),
            on_disk={"libruntime.so": f"{ASCEND}/cann-9.1.0/devlib/libruntime.so"},
        ),
        "import torch_npu", "fail", "libruntime.so", (f"in a fresh shell: {SET_ENV}",),
    ),
    "CANN is not installed": (
        replace(without(ATLAS, *CANN_LIBRARIES), toolkits=(), sourced_home=None),
        "cann", "fail", "not installed", ("install CANN 9.1.0", "vllm-ascend:v0.23.0"),
    ),
    "variables of a CANN that is gone": (
        replace(ATLAS, missing_folders={"ASCEND_OPP_PATH": f"{ASCEND}/cann-8.3.0/opp"}, sourced_home=None),
        "cann variables", "fail", "cann-8.3.0", (SET_ENV, "fresh shell"),
    ),
    "the older of two CANNs": (
        cann("8.5.1", "9.1.0", sourced="8.5.1"),
        "cann version", "fail", "8.5.1", (SET_ENV, "fresh shell"),
    ),
    "a CANN too old": (
        cann("8.0.0", sourced="8.0.0"), "cann version", "fail", "9.1.0", ("install CANN 9.1.0", "v0.23.0")
    ),
    "a CANN of the same series": (cann("9.1.1", sourced="9.1.1"), "cann version", "warn", "9.1.1", ("CANN 9.1.0",)),
    "NNAL is not sourced": (without(ATLAS, "libatb.so"), "nnal", "fail", "libatb.so", (f"source {NNAL_ENV}",)),
    "NNAL is not installed": (
        replace(without(ATLAS, "libatb.so"), nnals=()), "nnal", "fail", "not installed", ("Ascend-cann-nnal_9.1.0",)
    ),
    "NNAL of another CANN": (
        replace(ATLAS, nnals=(OLD_NNAL,)),
        "nnal version", "warn", "8.2.RC1", ("Ascend-cann-nnal_9.1.0",),
    ),
    "NNAL too old for torch_npu": (
        replace(broken("undefined symbol: _ZN3atb9OperationE"), nnals=(OLD_NNAL,)),
        "nnal version", "fail", "8.2.RC1", ("Ascend-cann-nnal_9.1.0",),
    ),
    "a driver too old": (
        replace(ATLAS, driver=replace(ATLAS.driver, version="24.1.rc2")),
        "driver version", "warn", "24.1.rc2", ("25.2", "host"),
    ),
    "no operators for the chip": (
        replace(
            with_probes(ATLAS, operator=Probe("RuntimeError: AclOpKernelInit failed, error code is 561103")),
            toolkits=(toolkit("9.1.0", "ascend310p"),),
        ),
        "operators", "fail", "910b", ("Ascend-cann-910b-ops_9.1.0",),
    ),
    # chips
    "no chip": (
        replace(UNLISTED, nodes=nodes("davinci_manager", "devmm_svm", "hisi_hdc"), npu_smi=smi(code=-8005)),
        "device files", "fail", "no chip", ("--device /dev/davinci0",),
    ),
    "a node by a wrong name": (
        replace(REFUSED, nodes=nodes("davinci0", "devmm_svm", "hisi_hdc", "dav_manager")),
        "device files", "fail", "dav_manager", ("--device /dev/davinci_manager",),
    ),
    "a user without rights": (
        replace(REFUSED, nodes=nodes(*NODES, usable=False), user=User(65534, (65534,), account=True, overrides=False)),
        "permission", "fail", "owner 1000", ("--group-add 1000", "usermod"),
    ),
    "nodes for their owner alone": (
        replace(
            REFUSED,
            nodes=tuple(replace(node, mode=0o600) for node in nodes(*NODES, usable=False)),
            user=User(1001, (1000, 1001), account=True, overrides=False),
        ),
        "permission", "fail", "mode 0600", ("--user 1000:1000", "chmod 0660"),
    ),
    "a root without capabilities": (
        replace(REFUSED, nodes=nodes(*NODES, usable=False), user=User(0, (0,), account=True, overrides=False)),
        "permission", "fail", "CAP_DAC_OVERRIDE", ("--cap-add DAC_OVERRIDE",),
    ),
    "the driver refuses": (REFUSED, "npu-smi", "fail", "-8005", ("on the host", "--privileged")),
    "the chip is in use": (
        replace(UNLISTED, npu_smi=smi(code=-8020)), "npu-smi", "fail", "-8020", ("stop the other container",)
    ),
    "the driver is dead": (
        replace(with_probes(ATLAS, torch_npu=Probe("no answer within 22 s", hung=True)), npu_smi=smi(hung=True)),
        "npu-smi", "fail", "does not answer", ("npu-smi info on the host", "reset"),
    ),
    "ids of the host": (
        with_variables(UNLISTED, **{VISIBLE: "4,5"}), "visible devices", "fail", "4,5", (f"{VISIBLE}=0,1", "unset")
    ),
    "one id of two": (
        with_variables(with_probes(ATLAS, torch_npu=counted(1)), **{VISIBLE: "0,9"}),
        "visible devices", "fail", "0,9", (f"{VISIBLE}=0,1",),
    ),
    "a chip that nobody counts": (
        with_probes(ATLAS, torch_npu=counted(1)), "devices", "warn", "1 ×", ("npu-smi info",)
    ),
    "a build for another chip": (
        with_probes(ATLAS, torch_npu=counted(2, "Ascend310P3")),
        "chip", "fail", "A2", ("vllm-ascend:v0.23.0-310p", "SOC_VERSION=ascend310p"),
    ),
    "a chip that no build supports": (
        with_probes(ATLAS, torch_npu=counted(2, "Ascend910ProB")), "chip", "fail", "no vllm-ascend", ("A2 (910B)",)
    ),
    "a chip in alarm": (
        replace(ATLAS, npu_smi=smi(Chip(0, "910B3", "Alarm", 3400, 65536), Chip(1, "910B3", "OK", 3400, 65536))),
        "health", "warn", "Alarm", ("-t health -i 0",),
    ),
    "the second chip of an NPU in alarm": (
        replace(
            ATLAS,
            npu_smi=smi(
                Chip(6, "Ascend910", "OK", 3410, 65536), Chip(6, "Ascend910", "Alarm", 3203, 65536, 1)
            ),
        ),
        "health", "warn", "NPU 6 chip 1: Alarm", ("-t health -i 6 -c 1",),
    ),
    "memory in use": (
        replace(ATLAS, npu_smi=NpuSmi("x", chips=(FULL,), holders=(Holder(0, 7, "python", 54000),))),
        "memory", "warn", "57344 of 65536", ("stop them",),
    ),
    # versions
    "torch as vLLM pins it": (
        of_018(torch="2.10.0", torchvision="0.25.0", torchaudio="2.10.0"),
        "torch", "fail", "2.10.0", ("--no-deps torch==2.9.0 torchvision==0.24.0 torchaudio==2.9.0", "v0.18.0"),
    ),
    "a torch_npu of another CANN": (
        with_packages(ATLAS, torch_npu="2.10.0"), "torch_npu", "fail", "2.10.0.post4", ("torch-npu==2.10.0.post4",)
    ),
    "a build whose version tells nothing": (
        with_packages(of_release("0.13.0"), vllm_ascend="0.1.dev128+ge16e14cc9", torch="2.9.0"),
        "torch", "fail", "2.8.0", ("torch==2.8.0",),
    ),
    "a release newer than the table": (
        with_packages(ATLAS, vllm_ascend="0.99.0", vllm="0.99.0", torch="2.7.1"),
        "torch", "fail", "2.10.0", ("torch==2.10.0",),
    ),
    "transformers 5 under 0.18": (
        of_018(transformers="5.5.4"), "transformers", "fail", "5.5.4", ("'transformers>=4.57.4,<5'",)
    ),
    "numpy 2 under 0.18": (of_018(numpy="2.2.6"), "numpy", "fail", "2.2.6", ("'numpy<2",)),
    "vLLM of another release": (with_packages(ATLAS, vllm="0.32.0"), "vllm", "fail", "0.32.0", ("vllm==0.23.0",)),
    "vLLM without a version": (
        with_packages(ATLAS, vllm="0.1.dev1+g0fc695fc6"), "vllm", "warn", "0.1.dev1", ("VLLM_VERSION=0.23.0",)
    ),
    "torchvision of another torch": (
        with_probes(with_packages(ATLAS, torchvision="0.21.0"), vllm=NMS, guests=NMS_OF_GUEST),
        "torchvision", "fail", "0.21.0", ("torchvision==0.25.0",),
    ),
    "no vllm-ascend": (
        with_probes(
            with_packages(ATLAS, vllm_ascend=None),
            vllm=UNSPECIFIED,
        ),
        "vllm-ascend", "fail", "not installed", ("vllm-ascend==0.23.0",),
    ),
    "chips, and no software": (
        replace(ATLAS, python=replace(ATLAS.python, packages={}), requires={}, build=None, probes={}),
        "vllm-ascend", "warn", "not installed", ("vllm-ascend:v0.23.0",),
    ),
    "Python too old": (
        replace(ATLAS, python=replace(ATLAS.python, version="3.9.18")), "python", "fail", "3.9.18", ("v0.23.0",)
    ),
    "triton overwrote triton-ascend": (
        triton("ModuleNotFoundError: 'triton._C.libtriton' is not a package", triton="3.5.0"),
        "triton-ascend", "fail", "triton 3.5.0", ("uninstall -y triton triton-ascend", "triton-ascend==3.2.2"),
    ),
    "triton was uninstalled": (
        with_probes(
            triton("AttributeError: module 'triton' has no attribute 'Config'"),
            torch_npu=Probe("ImportError: cannot import name 'Config' from 'triton'", through=("torch_npu",)),
        ),
        "triton-ascend", "fail", "broken", ("triton-ascend==3.2.2",),
    ),
    "no torch_npu": (
        replace(
            broken("ModuleNotFoundError: No module named 'torch_npu'", "vllm_ascend"),
            python=with_packages(ATLAS, torch_npu=None).python,
            probes={
                "torch": PROBES["torch"],
                "vllm": Probe("ModuleNotFoundError: No module named 'torch_npu'"),
                "vllm_ascend": Probe("ModuleNotFoundError: No module named 'torch_npu'"),
            },
        ),
        "torch_npu", "fail", "not installed", ("torch-npu==2.10.0.post4",),
    ),
    "no triton-ascend": (triton(None, triton_ascend=None), "triton-ascend", "warn", "not installed", ("==3.2.2",)),
    # what is installed, and broken
    "the operator compiler lacks a module": (
        with_probes(ATLAS, operator=Probe(f"{COMPILER} [ModuleNotFoundError: No module named 'attr'.]")),
        "operator", "fail", "attr", ("pip install --no-deps attrs",),
    ),
    "the compiled part does not load": (
        with_probes(ATLAS, vllm_ascend=Probe(told={"compiled": "ImportError: libvllm_ascend_kernels.so"})),
        "compiled part", "warn", "vllm_ascend_C", ("--no-deps vllm-ascend==0.23.0",),
    ),
    "torch_npu for another torch": (
        broken("ImportError: libtorch_npu.so: undefined symbol: _ZN5torch10ValueErrorC1EPKcz", "torch_npu"),
        "import torch_npu", "fail", "undefined symbol", ("torch==2.10.0 torch-npu==2.10.0.post4", "--force-reinstall"),
    ),
    "torch_npu without its library": (
        broken("ImportError: libtorch_npu.so: cannot open shared object file", "torch_npu"),
        "import torch_npu", "fail", "libtorch_npu.so", ("torch-npu==2.10.0.post4",),
    ),
    "an installation cut short": (
        broken("ImportError: /x/libtorch_npu.so: file too short", "torch_npu"),
        "import torch_npu", "fail", "file too short", ("torch-npu==2.10.0.post4",),
    ),
    "no room for thread-local storage": (
        broken("ImportError: /opt/lib/libgomp.so.1: cannot allocate memory in static TLS block", "torch_npu"),
        "import torch_npu", "fail", "TLS", ("export LD_PRELOAD=/opt/lib/libgomp.so.1",),
    ),
    "torchcodec in the way": (
        with_probes(
            ATLAS,
            vllm=Probe("OSError: Could not load this library: torchcodec/lib.so", through=("vllm", "torchcodec")),
            guests=Probe(told={"torchcodec": "OSError: Could not load this library"}),
        ),
        "torchcodec", "fail", "torchcodec", ("pip uninstall -y torchcodec",),
    ),
    "no plugin registered": (
        replace(
            with_probes(ATLAS, vllm=UNSPECIFIED),
            plugins={"vllm.platform_plugins": (), "vllm.general_plugins": ("weightsmith",)},
        ),
        "platform", "fail", "entry point", ("vllm-ascend==0.23.0",),
    ),
    "the plugin shut out": (
        with_variables(
            with_probes(ATLAS, vllm=UNSPECIFIED), VLLM_PLUGINS="weightsmith"
        ),
        "platform", "fail", "VLLM_PLUGINS=weightsmith", ("VLLM_PLUGINS=ascend,weightsmith",),
    ),
    "the chip's memory is full": (
        replace(
            with_probes(ATLAS, operator=Probe("RuntimeError: NPU out of memory. Tried to allocate 2 MiB")),
            npu_smi=smi(FULL),
        ),
        "memory", "fail", "57344", ("stop them",),
    ),
    "no name for the user, and torch asks for it": (
        replace(
            broken("KeyError: 'getpwuid(): uid not found: 1000'", "torch", "getpass"),
            user=User(1000, (1000,), account=False, overrides=False),
        ),
        "account", "fail", "uid 1000", ("useradd",),
    ),
    "a sum that is wrong": (
        with_probes(ATLAS, operator=Probe(told={"sum": "31.0"})), "operator", "fail", "31.0", ("chip",)
    ),
    # process and container
    "the packages lie elsewhere": (
        replace(
            with_packages(ATLAS, **dict.fromkeys(ATLAS.packages)), probes={}, requires={}, build=None,
            others=(Interpreter("/opt/py/bin/python3", "/opt/py", "3.11", {"vllm-ascend": "0.23.0"}),),
        ),
        "interpreter", "fail", "/opt/py", ("/opt/py/bin/python3 -m pip install",),
    ),
    "a port taken": (
        replace(ATLAS, container=replace(ATLAS.container, listening=(60031,))),
        "hccl ports", "warn", "60031", ("HCCL_IF_BASE_PORT=60100",),
    ),
    "docker's shared memory": (
        replace(ATLAS, container=replace(ATLAS.container, shared_memory=64 << 20)),
        "shared memory", "warn", "64 MB", ("--shm-size=16g",),
    ),
    "a user without a name": (
        replace(ATLAS, user=User(1000, (1000,), account=False, overrides=False)),
        "account", "warn", "uid 1000", ("useradd -u 1000",),
    ),
    "a variable misspelt": (
        with_variables(ATLAS, ASCEBD_RT_VISIBLE_DEVICES="1"), "variables", "warn", "ASCEBD", (f"export {VISIBLE}=1",)
    ),
    "the adapter shut out": (
        with_variables(ATLAS, VLLM_PLUGINS="ascend"),
        "hrm-text adapter", "warn", "leaves it out", ("=ascend,weightsmith",),
    ),
    "sums in any order": (
        replace(ATLAS, environment={}), "determinism", "warn", "0 of 4", ("HCCL_DETERMINISTIC=true",)
    ),
}  # fmt: skip


def named(machine: Facts, name: str) -> Finding:
    (finding,) = [check for check in diagnose(machine).checks if check.name == name]
    return finding


@pytest.mark.parametrize(("machine", "name", "verdict", "words", "fixes"), ILL.values(), ids=ILL)
def test_each_illness_is_named_by_its_cause(
    machine: Facts, name: str, verdict: str, words: str, fixes: tuple[str, ...]
) -> None:
    diagnosis = diagnose(machine)
    finding = named(machine, name)
    assert finding.verdict == verdict and words in finding.found and not finding.follows_from
    assert all(fix in finding.fix for fix in fixes), finding.fix
    assert diagnosis.healthy == (verdict != "fail")
    failed = [root.name for root in diagnosis.roots if root.verdict == "fail"]
    assert failed == ([name] if verdict == "fail" else []), "one illness, one root"


@pytest.mark.parametrize("machine", [machine for machine, *_ in ILL.values()], ids=ILL)
def test_what_follows_names_its_cause_and_no_fix(machine: Facts) -> None:
    checks = {check.name: check for check in diagnose(machine).checks}
    for check in checks.values():
        if check.follows_from:
            assert not check.fix and check.name in checks[check.follows_from].cause_of
        assert all(checks[name].follows_from == check.name for name in check.cause_of)
        assert not ("uninstall" in check.fix and "torchvision" in check.fix), "vllm-ascend requires it"


def test_a_sound_atlas_is_well() -> None:
    diagnosis = diagnose(ATLAS)
    assert not [check for check in diagnosis.checks if check.is_ill or check.fix]
    assert diagnosis.conclusion == "Ready for vllm-ascend 0.23.0 on 2 × Ascend910B3"
    full = diagnose(ILL["memory in use"][0])
    assert full.conclusion == "Ready for vllm-ascend 0.23.0 on 2 × Ascend910B3 (look at: memory)"


def test_a_machine_without_an_npu_is_not_ill() -> None:
    diagnosis = diagnose(LAPTOP)
    assert diagnosis.healthy and not any(check.fix for check in diagnosis.checks)
    assert named(LAPTOP, "device files").verdict == named(LAPTOP, "driver").verdict == "absent"
    assert diagnosis.conclusion == "No Ascend machine; --device cpu works here"


def test_the_conclusion_names_the_first_cause_and_counts_the_others() -> None:
    machine = with_packages(REFUSED, torch_npu="2.10.0", transformers="4.1")
    assert diagnose(machine).conclusion.startswith("Not ready: npu-smi: ret is -8005")
    assert diagnose(machine).conclusion.endswith("(and 2 more)")


SOUND = {
    "the image's torch_npu": with_packages(of_release("0.18.0rc1"), torch_npu="2.9.0.post1+git4c901a4"),
    "0.18.0 as its images have been built since": with_packages(
        replace(of_release("0.18.0"), toolkits=(toolkit("9.0.0"),), sourced_home=toolkit("9.0.0").home),
        torch_npu="2.9.0.post2",
    ),
    "a source build": with_packages(of_release("0.18.0"), vllm_ascend="0.1.dev900+g0123456"),
    "a 310P has no triton-ascend": replace(
        with_probes(with_packages(ATLAS, triton_ascend=None), torch_npu=counted(2, "Ascend310P3")),
        build="_310P",
        toolkits=(toolkit("9.1.0", "ascend310p"),),
    ),
    "an A5 has no devmm_svm, and its driver counts its own": replace(
        with_probes(ATLAS, torch_npu=counted(2, "Ascend950DT")),
        nodes=nodes("davinci0", "davinci1", "davinci_manager", "hisi_hdc"),
        driver=Driver("25.1.rc2", "x", ("y",)),
        build="A5",
        toolkits=(toolkit("9.1.0", "ascend950"),),
    ),
    "one chip of eight counts from 0": replace(
        with_probes(ATLAS, torch_npu=counted(1)), nodes=nodes("davinci5", *NODES[2:])
    ),
    "an idle 32 GB chip": replace(ATLAS, npu_smi=smi(*(Chip(n, "910B4", "OK", 3400, 32768) for n in (0, 1)))),
    "the container runtime's variable": with_variables(ATLAS, ASCEND_VISIBLE_DEVICES="4,5"),
    "vLLM's version told": with_variables(with_packages(ATLAS, vllm="0.1.dev1"), VLLM_VERSION="0.23.0"),
    "a port beyond HCCL's": replace(ATLAS, container=replace(ATLAS.container, listening=(22, 60032))),
}


@pytest.mark.parametrize("machine", SOUND.values(), ids=SOUND)
def test_sound_machines_are_left_alone(machine: Facts) -> None:
    assert [check for check in diagnose(machine).checks if check.verdict == "fail"] == []


@pytest.mark.parametrize("version", [row.version for row in all_releases()])
def test_every_published_release_is_known(version: str) -> None:
    """As it was matched it is well; with another torch and another CANN, both are named with the right ones."""
    sound = of_release(version)
    assert [
        c.name
        for c in diagnose(sound).checks
        if c.is_ill and c.name in ("torch", "torch_npu", "cann version")
    ] == []
    kit = toolkit("7.0.0")
    wrong = replace(with_packages(sound, torch="2.99.0"), toolkits=(kit,), sourced_home=kit.home)
    torch, cann_version = named(wrong, "torch"), named(wrong, "cann version")
    assert torch.verdict == cann_version.verdict == "fail"
    assert f"torch=={sound.packages['torch']}" in torch.fix
    assert f"CANN {sound.toolkits[0].version}" in cann_version.fix


def test_an_x86_machine_gets_the_cpu_build_of_torch() -> None:
    """The other index has CUDA builds under that name for x86."""
    wrong = replace(with_packages(ATLAS, torch="2.11.0"), architecture="x86_64")
    assert "torch==2.10.0+cpu" in named(wrong, "torch").fix
    assert "+cpu" not in named(with_packages(ATLAS, torch="2.11.0"), "torch").fix


def test_on_a_cpu_torchvision_may_go() -> None:
    """vLLM for a CPU does without it; vllm-ascend requires it."""
    assert (
        "pip uninstall -y torchvision"
        in named(with_probes(LAPTOP, vllm=NMS, guests=NMS_OF_GUEST), "import torchvision").fix
    )


def test_requirements_of_the_sound_machine_are_those_of_its_release() -> None:
    (row,) = [row for row in all_releases() if row.version == "0.23.0"]
    assert set(REQUIRES["vllm-ascend"]) == {f"{name}{limits}" for name, limits in row.requires.items()}
