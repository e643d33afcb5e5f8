"""What is on a machine is read as it is: CANN wherever its installers put it, npu-smi's table, nodes, ports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.machine import tables
from weightsmith.machine.facts import Chip, Holder
from weightsmith.machine.reading import cann, npu_smi, pythons, read_machine, surroundings
from weightsmith.machine.reading.disk import Disk
from weightsmith.machine.variables import is_of_the_stack, misspelt
from weightsmith.process.child import Failure, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.process.side_by_side import Patience, Question

ASCEND = "/usr/local/Ascend"


class Machine:
    """A folder that stands for `/`."""

    def __init__(self, root: Path) -> None:
        self.root, self.disk = root, Disk(root)

    def file(self, path: str, text: str = "") -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def link(self, path: str, target: str) -> None:
        (self.root / path.lstrip("/")).symlink_to(target)

    def toolkit(self, home: str, version: str) -> None:
        self.file(f"{home}/aarch64-linux/ascend_toolkit_install.info", f"package_name=x\nversion={version}\n")
        self.file(f"{home}/lib64/libascendcl.so")
        self.file(f"{home}/opp/built-in/op_impl/ai_core/tbe/kernel/ascend910b/add/Add.json")

    def toolkits(self, **environment: str) -> dict[str, tuple[str | None, str | None]]:
        """Home → version and script."""
        kits = cann.toolkits(self.disk, cann.prefixes(self.disk, environment))
        return {kit.home: (kit.version, kit.set_env) for kit in kits}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_cann_of_today_and_its_links_are_one(machine: Machine) -> None:
    home = f"{ASCEND}/cann-9.1.0"
    machine.toolkit(home, "9.1.0")
    machine.file(f"{home}/set_env.sh")
    machine.file(f"{ASCEND}/ascend-toolkit/set_env.sh")
    machine.link(f"{ASCEND}/cann", "cann-9.1.0")
    machine.link(f"{ASCEND}/ascend-toolkit/latest", "../cann")
    assert machine.toolkits() == {home: ("9.1.0", f"{home}/set_env.sh")}
    (kit,) = cann.toolkits(machine.disk, (ASCEND,))
    assert kit.operators == ("ascend910b",)
    for named in (home, f"{ASCEND}/cann", f"{ASCEND}/ascend-toolkit/latest/"):
        assert cann.sourced_home(machine.disk, {"ASCEND_HOME_PATH": named}) == home


def test_of_the_old_layout_only_the_linked_one_has_a_script(machine: Machine) -> None:
    for version in ("8.2.RC1", "8.3.RC2"):
        machine.toolkit(f"{ASCEND}/ascend-toolkit/{version}", version)
    machine.file(f"{ASCEND}/ascend-toolkit/set_env.sh")
    machine.link(f"{ASCEND}/ascend-toolkit/latest", "8.3.RC2")
    assert machine.toolkits() == {
        f"{ASCEND}/ascend-toolkit/8.2.RC1": ("8.2.RC1", None),
        f"{ASCEND}/ascend-toolkit/8.3.RC2": ("8.3.RC2", f"{ASCEND}/ascend-toolkit/set_env.sh"),
    }


@pytest.mark.parametrize(
    ("environment", "note"),
    [
        ({"HOME": "/home/me"}, ""),
        ({"ASCEND_TOOLKIT_HOME": "/home/me/Ascend/cann-8.5.1"}, ""),
        ({"ASCEND_OPP_PATH": "/home/me/Ascend/cann-8.5.1/opp"}, ""),
        ({}, "Toolkit_InstallPath=x\nInstall_Path=/home/me/Ascend\n"),
    ],
)
def test_cann_in_a_home_is_found(machine: Machine, environment: dict[str, str], note: str) -> None:
    machine.toolkit("/home/me/Ascend/cann-8.5.1", "8.5.1")
    machine.file("/etc/Ascend/ascend_cann_install.info", note)
    assert "/home/me/Ascend/cann-8.5.1" in machine.toolkits(**environment)


def test_a_path_that_nobody_may_look_at_is_no_error(machine: Machine) -> None:
    """As of a home that belongs to another user; a name too long fails the same way for root."""
    closed = f"/{'x' * 300}"
    assert machine.toolkits(HOME=closed, ASCEND_HOME_PATH=f"{closed}/cann") == {}
    assert (
        cann.nnals(machine.disk, (closed,)) == ()
        and cann.sourced_home(machine.disk, {"ASCEND_HOME_PATH": closed}) is None
    )
    assert cann.missing_folders(machine.disk, {"ASCEND_OPP_PATH": closed}) == {}
    assert pythons.others(machine.disk, {"PATH": closed, "CONDA_PREFIX": closed}) == ()


def test_folders_that_are_gone_are_told_with_their_variables(machine: Machine) -> None:
    variables = {"ASCEND_OPP_PATH": f"{ASCEND}/cann-8.3.0/opp", "ASCEND_HOME_PATH": "/", "PATH": "/nowhere"}
    assert cann.missing_folders(machine.disk, variables) == {"ASCEND_OPP_PATH": f"{ASCEND}/cann-8.3.0/opp"}


def test_the_driver_where_its_installer_noted_it(machine: Machine) -> None:
    machine.file("/etc/ascend_install.info", "UserName=x\nDriver_Install_Path_Param=/opt/A\n")
    machine.file("/opt/A/driver/version.info", "Version=25.5.2\npackage_version=25.5.2\n")
    assert cann.driver(machine.disk).libraries == ()
    machine.file("/opt/A/driver/lib64/driver/libascend_hal.so")
    found = cann.driver(machine.disk)
    assert found.version == "25.5.2" and found.source == "/opt/A/driver/version.info"
    assert found.libraries == ("/opt/A/driver/lib64/driver",)


def test_nnal_and_where_a_library_lies(machine: Machine) -> None:
    machine.file(f"{ASCEND}/nnal/atb/latest/version.info", "    Ascend-cann-atb : 8.5.1\n")
    machine.file(f"{ASCEND}/nnal/atb/set_env.sh")
    machine.file(f"{ASCEND}/nnal/atb/latest/atb/cxx_abi_1/lib/libatb.so")
    (nnal,) = cann.nnals(machine.disk, (ASCEND, "/nowhere"))
    assert (nnal.version, nnal.set_env) == ("8.5.1", f"{ASCEND}/nnal/atb/set_env.sh")
    found = cann.lying(machine.disk, ("libatb.so", "libhccl.so"), [nnal.home])
    assert found == {"libatb.so": f"{nnal.home}/latest/atb/cxx_abi_1/lib/libatb.so"}


A2_TABLE = """
+------------------------------------------------------------------------------------------------+
| npu-smi 25.2.0                   Version: 25.2.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.8        49                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          57344/ 65536         |
+===========================+===============+====================================================+
| 5     910B3               | Alarm         | 95.1        51                0    / 0             |
| 0                         | 0000:C2:00.0  | 0           0    / 0          3400 / 65536         |
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 1500268       | VLLMEngineCor            | 53944                   |
| No running processes found in NPU 5                                                            |
"""
A3_TABLE = """
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
| 0     Ascend910           | OK            | 163.4       38                0    / 0             |
| 0     0                   | 0000:9D:00.0  | 0           0    / 0          3147 / 65536         |
| 0     Ascend910           | OK            | -           37                0    / 0             |
| 1     1                   | 0000:9F:00.0  | 0           0    / 0          2876 / 65536         |
"""
DUO_TABLE = """
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)                       |
| 1     310P3               | OK            | NA          45                0    / 0             |
| 0     0                   | 0000:81:00.0  | 0           1842 / 44280                           |
"""
BOARD = "\tNPU ID : 0\n\tChip Type  :\n\tChip Name  : Ascend910\n\tNPU Name   : 9392\n"


def test_npu_smi_tells_chips_memory_and_who_holds_it() -> None:
    found = npu_smi.parse("npu-smi", A2_TABLE)
    assert found.chips == (Chip(0, "910B3", "OK", 57344, 65536), Chip(5, "910B3", "Alarm", 3400, 65536))
    assert found.holders == (Holder(0, 1500268, "VLLMEngineCor", 53944),) and found.code is None


def test_an_a3_is_named_by_its_board_and_has_two_chips() -> None:
    found = npu_smi.parse("npu-smi", A3_TABLE, npu_smi.board_name(BOARD))
    assert [chip.name for chip in found.chips] == ["Ascend910_9392"] * 2
    assert [chip.used for chip in found.chips] == [3147, 2876]


def test_a_310p_has_no_hbm() -> None:
    assert npu_smi.parse("npu-smi", DUO_TABLE).chips == (Chip(1, "310P3", "OK", 1842, 44280),)


@pytest.mark.parametrize("source", tables.PUBLISHED)
def test_tables_that_people_published(source: str) -> None:
    """Two chips an NPU, in the dialects of five drivers: told apart, each with its own memory."""
    text, chips, holders = tables.PUBLISHED[source]
    found = npu_smi.parse("npu-smi", text)
    assert (found.chips, found.holders, found.said) == (chips, holders, "")


@pytest.mark.parametrize("code", [-8005, -8020])
def test_npu_smi_gives_up_with_a_code(code: int) -> None:
    found = npu_smi.parse(
        "npu-smi", f"DrvMngGetConsoleLogLevel failed.\ndcmi initialize failed. ret is {code}\n"
    )
    assert found.code == code and not found.chips and "dcmi" in found.said


def test_nodes_with_their_owners_and_misspelt_ones(machine: Machine) -> None:
    for name in ("davinci0", "davinci12", "davinci_manager", "dav_manager", "hisi_hdc", "null"):
        machine.file(f"/dev/{name}")
    (machine.root / "dev/davinci0").chmod(0o600)
    found = surroundings.nodes(machine.disk)
    assert [node.name for node in found] == [
        "davinci0",
        "davinci12",
        "hisi_hdc",
        "dav_manager",
        "davinci_manager",
    ]
    assert [node.is_chip for node in found] == [True, True, False, False, False]
    assert (found[0].mode, found[0].owner, found[0].usable) == (0o600, os.getuid(), True)


def test_listeners_are_read_from_the_kernels_table(machine: Machine) -> None:
    header = "  sl  local_address rem_address   st\n"
    machine.file(
        "/proc/net/tcp", header + "   0: 00000000:EA60 00000000:0000 0A x\n   1: 0100007F:1234 0:0 01 x\n"
    )
    machine.file("/proc/1/cgroup", "0::/kubepods/burstable/pod1\n")
    found = surroundings.container(machine.disk, {})
    assert found.listening == (60000,) and (found.kind, found.source) == ("container", "/proc/1/cgroup")


def test_other_pythons_are_found_by_the_path_by_vllm_and_where_images_put_them(machine: Machine) -> None:
    for prefix, package in (
        ("/opt/a", "torch_npu-2.9.0"),
        ("/opt/b", "vllm_ascend-0.18.0"),
        ("/opt/c", "torch-2.9.0"),
    ):
        machine.file(f"{prefix}/bin/python3")
        machine.file(f"{prefix}/lib/python3.11/site-packages/{package}.dist-info/METADATA")
    machine.file("/usr/local/python3.12.1/bin/python3")
    machine.file(
        "/usr/local/python3.12.1/lib/python3.12/site-packages/torch_npu-2.10.0.post4.dist-info/METADATA"
    )
    machine.file("/usr/bin/vllm", "#!/opt/b/bin/python3\nimport vllm\n")
    found = pythons.others(machine.disk, {"PATH": "/opt/a/bin:/usr/bin:/opt/c/bin"})
    assert {one.prefix: dict(one.packages) for one in found} == {
        "/opt/a": {"torch-npu": "2.9.0"},
        "/opt/b": {"vllm-ascend": "0.18.0"},
        "/usr/local/python3.12.1": {"torch-npu": "2.10.0.post4"},
    }


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ASCEBD_RT_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"),
        ("ASCEND_RT_VISIBLE_DEVICE", "ASCEND_RT_VISIBLE_DEVICES"),
        ("NPU_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"),
        ("ASCEND_VISIBLE_DEVICES", None),
        ("ASCEND_TOOLCHAIN_HOME", None),
        ("CUDA_VISIBLE_DEVICES", None),
        ("PATH", None),
    ],
)
def test_slips_of_a_letter_are_no_other_variables(name: str, meant: str | None) -> None:
    assert misspelt(name) == meant


@pytest.mark.parametrize("name", ["VLLM_API_KEY", "HF_TOKEN", "ASCEND_PASSWORD", "HOME", "USER"])
def test_secrets_are_not_among_the_facts(name: str) -> None:
    assert not is_of_the_stack(name) and is_of_the_stack("ASCEND_OPP_PATH")


def test_only_what_is_installed_is_imported_and_only_torch_loads_torch_npu(tmp_path: Path) -> None:
    asked: dict[str, Question] = {}

    def ask(questions: Mapping[str, Question], patience: Patience) -> dict[str, Outcome]:
        asked.update(questions)
        failed = Outcome(None, Failure("killed by SIGABRT", "starting", ("abort",), status=-6), 1.0)
        hung = Outcome(None, Failure("no answer within 22 s", "starting"), 22.0)
        answers = {"torch": failed, "vllm": hung}
        return {name: answers.get(name, Outcome({"told": {}}, None, 1.0)) for name in questions}

    facts = read_machine(tmp_path, {"ASCEND_OPP_PATH": "/x", "SECRET": "y"}, ask)
    assert {"libraries", "npu_smi", "torch", "vllm"} <= set(asked) and "torch_npu" not in asked
    assert "TORCH_DEVICE_BACKEND_AUTOLOAD" not in asked["torch"].environment
    assert asked["vllm"].environment["TORCH_DEVICE_BACKEND_AUTOLOAD"] == "0"
    assert facts.probes["torch"].error == "the process was killed by SIGABRT: abort"
    assert facts.probes["vllm"].hung and dict(facts.environment) == {"ASCEND_OPP_PATH": "/x"}
