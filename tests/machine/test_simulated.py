"""The real doctor on machines that are not there: namespaces, real nodes and libraries, stand-ins for the packages.

What the doctor makes of facts is tested on values (test_findings); here it has to read them. A few machines, each for a
way of reading that no other test takes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .simulated.ask import Doctor
from .simulated.atlas import Atlas

if TYPE_CHECKING:
    from collections.abc import Iterator


def can_simulate() -> bool:
    if os.geteuid() or not all(map(shutil.which, ("unshare", "timeout", "gcc"))):
        return False
    return (
        subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode
        == 0
    )


pytestmark = pytest.mark.skipif(not can_simulate(), reason="needs root, gcc, and namespaces of its own")


@pytest.fixture(scope="module")
def doctor() -> Iterator[Doctor]:
    with Doctor(sys.executable) as doctor:
        yield doctor


ILL = {
    "a driver half mounted": (Atlas(driver_libraries=False), "driver", "not mounted", "-v /usr/local/Ascend/driver"),
    "CANN in a home, not sourced": (
        Atlas(release="0.18.0", prefix="/home/ma-user/Ascend", sourced=("driver",), home="/home/ma-user"),
        "cann",
        "/home/ma-user/Ascend/cann-8.5.1",
        "source /home/ma-user/Ascend/nnal/atb/set_env.sh",
    ),
    "nobody's rights": (Atlas(user=65534), "permission", "uid 65534", "--group-add 1000"),
    "a symbol of NNAL": (
        Atlas(nnal="8.2.RC1", undefined="_ZN3atb9OperationE"), "nnal version", "8.2.RC1", "Ascend-cann-nnal_9.1.0"
    ),
    "no operators": (Atlas(kernels=()), "operators", "910b", "Ascend-cann-910b-ops_9.1.0"),
    "the packages elsewhere": (Atlas(other_python="/opt/py"), "interpreter", "/opt/py", "/opt/py/bin/python3 -m pip"),
    "pins of vLLM": (Atlas(packages={"torch": "2.11.0"}), "torch", "2.11.0", "torch==2.10.0"),
}  # fmt: skip


@pytest.mark.parametrize(("machine", "name", "words", "fix"), ILL.values(), ids=ILL)
def test_the_cause_is_read_and_named(doctor: Doctor, machine: Atlas, name: str, words: str, fix: str) -> None:
    answer = doctor.ask(machine)
    (root,) = [c for c in answer.checks if c["verdict"] == "fail" and not c["follows_from"]]
    assert (answer.code, root["name"]) == (1, name)
    assert words in root["found"] and fix in root["fix"] and not answer.absent


def test_a_sound_machine_is_left_alone(doctor: Doctor) -> None:
    answer = doctor.ask(Atlas(numbers=(5,)))
    assert answer.code == 0
    verdicts = {check["name"]: check["verdict"] for check in answer.checks}
    assert {name for name, verdict in verdicts.items() if verdict in ("warn", "fail")} == {"determinism"}
    asked = ("npu-smi", "operator", "platform", "compiled part", "memory", "devices", "chip", "cann version")
    assert {verdicts[name] for name in asked} == {"ok"}


def test_a_machine_on_which_everything_hangs_is_judged_within_half_a_minute(doctor: Doctor) -> None:
    never = "SystemExit(__import__('time').sleep(1000))"
    machine = Atlas(
        hanging="import", raising=dict.fromkeys(("torch", "vllm", "vllm_ascend", "torchvision"), never)
    )
    answer = doctor.ask(machine, 45.0)  # with the time that it takes to lay the machine out, on a busy host
    (root,) = [c for c in answer.checks if c["verdict"] == "fail" and not c["follows_from"]]
    assert root["name"] == "npu-smi" and "does not answer" in root["found"]
