"""`weightsmith doctor` here and now: a machine without an NPU, on which vLLM for a CPU works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from weightsmith.machine import dump

from .machines import ATLAS, with_packages


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weightsmith.cli", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_json_and_dump_of_this_machine(tmp_path: Path) -> None:
    done = run("--json", "--dump", str(tmp_path / "here.json"))
    document = json.loads(done.stdout)
    assert done.returncode == 0 and not done.stderr
    assert document["command"] == "doctor"
    assert document["conclusion"] == "No Ascend machine; --device cpu works here"
    checks = {check["name"]: check for check in document["checks"]}
    assert checks["import torch"]["verdict"] == checks["import vllm"]["verdict"] == "ok"
    assert set(checks["driver"]) == {
        "name",
        "verdict",
        "found",
        "expected",
        "fix",
        "follows_from",
        "cause_of",
    }
    facts = dump.read(tmp_path / "here.json")
    assert facts.probes["vllm"].told["device"] == "cpu" and not facts.chips
    assert json.loads((tmp_path / "here.json").read_text())["conclusion"] == document["conclusion"]


def test_two_dumps_are_compared_without_looking_at_this_machine(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in "ab"]
    for path, machine in zip(files, (ATLAS, with_packages(ATLAS, torch="2.9.0")), strict=True):
        Path(path).write_bytes(dump.text(machine))
    done = run("--compare", *files, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert document["differences"] == [{"fact": "python.packages.torch", "a": "2.10.0+cpu", "b": "2.9.0"}]
    assert document["conclusions"][0].startswith("Ready") and document["conclusions"][1].startswith(
        "Not ready"
    )
    table = run("--compare", *files)
    assert "python.packages.torch" in table.stdout and "Not ready: torch" in table.stdout
    assert run("--compare", files[0], files[0]).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--compare", "absent", "absent"),
        ("--compare", __file__, __file__),
        ("--compare", "a", "b", "--dump", "c"),
        ("--dump", "/absent/folder/file"),
        ("--dump", "-", "--json"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and not (done.stdout and "--json" not in arguments)
    assert "Traceback" not in done.stderr
