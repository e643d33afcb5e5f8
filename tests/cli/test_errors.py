"""What the command line says and how it ends when it could not do what it was asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_contract import LATENT, weightsmith

KEYS = ["kind", "where", "what", "way_out"]


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The error of the one JSON document on stdout; the command must have exited 2."""
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert list(document) == ["error"]
    error: dict[str, str] = document["error"]
    assert list(error) == KEYS
    return error


@pytest.mark.parametrize("command", ["infer-config", "inspect", "diff", "convert", "verify-on-npu"])
def test_an_absent_path_is_one_json_document(command: str, tmp_path: Path) -> None:
    second = [tmp_path / "other"] if command in ("diff", "convert") else []
    done = weightsmith(command, tmp_path / "absent", *second, "--json")
    error = error_of(done)
    assert (error["kind"], error["where"]) == ("missing-input", str(tmp_path / "absent"))
    assert done.stderr == f"error: {error['where']}: {error['what']}; {error['way_out']}\n"


def test_a_path_that_is_not_utf8_is_named_all_the_same(tmp_path: Path) -> None:
    absent = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    assert error_of(weightsmith("inspect", absent, "--json"))["where"] == absent


def test_a_broken_config_names_the_file_and_the_fault(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    error = error_of(weightsmith("infer-config", LATENT, "--config", tmp_path / "config.json", "--json"))
    assert error["kind"] == "invalid-config"
    assert error["where"] == str(tmp_path / "config.json")
    assert error["what"].startswith("is no JSON")


@pytest.mark.parametrize(
    ("arguments", "where", "what"),
    [
        (["bogus"], "", "No such command 'bogus'."),
        (["infer-config"], " infer-config", "Missing argument 'CKPT...'."),
        (["inspect", LATENT, "--vaules"], " inspect", "No such option"),
        (["infer-config", LATENT, "--write", "--output", "x"], " infer-config", "exclude each other"),
        (["verify-on-npu", LATENT, "--gate", "x"], " verify-on-npu", "is not NAME=VALUE"),
    ],
)
def test_wrong_usage_is_one_json_document(arguments: list[str | Path], where: str, what: str) -> None:
    done = weightsmith(*arguments, "--json")
    error = error_of(done)
    assert error["kind"] == "usage"
    assert error["where"] == f"python -m weightsmith{where}"
    assert what in error["what"]
    assert error["way_out"] == f"see `{error['where']} --help`"
    assert what in done.stderr


def test_without_json_an_error_prints_nothing_on_stdout(tmp_path: Path) -> None:
    for arguments in (["bogus"], ["inspect", tmp_path / "absent"]):
        assert weightsmith(*arguments).stdout == ""


def test_a_config_that_cannot_be_written_is_an_error_and_no_result(tmp_path: Path) -> None:
    done = weightsmith("infer-config", LATENT, "--output", tmp_path / "absent" / "config.json", "--json")
    assert error_of(done)["kind"] == "target-refused"


def test_an_unknown_family_is_a_verdict_and_no_error_document(tmp_path: Path) -> None:
    """The result says more than an error could: which families come nearest, and why they do not fit."""
    from tests.checkpoint.headers import write_headers_only

    write_headers_only(tmp_path, {"strange.weight": (3, 5)})
    done = weightsmith("infer-config", tmp_path, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["verdict"] == "unknown"
    assert done.stderr.startswith(f"error: {tmp_path}: no family of the catalog explains its tensors")


def break_the_library(*arguments: str | Path, debug: bool = False) -> subprocess.CompletedProcess[str]:
    code = "from weightsmith import library\nfrom weightsmith.cli import main\nlibrary.infer = None\nmain()"
    environment = {**os.environ, "WEIGHTSMITH_DEBUG": "1" if debug else "0"}
    command = [sys.executable, "-c", code, "infer-config", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_fault_of_our_own_is_no_traceback_unless_asked_for() -> None:
    quiet = break_the_library(LATENT)
    assert quiet.returncode == 2
    assert quiet.stderr.startswith("error: weightsmith itself: TypeError: ")
    assert "Traceback" not in quiet.stderr
    assert error_of(break_the_library(LATENT, "--json"))["kind"] == "internal"
    assert "Traceback" in break_the_library(LATENT, debug=True).stderr


INTERRUPTED = """
import sys, time
from weightsmith import library
from weightsmith.cli import main

def wait(*_, **__):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)

library.inspect = wait
main()
"""


def interrupt(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=30)


def allow_interrupts() -> None:
    """A shell that runs the suite in the background hands down an ignored SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_command_ends_by_the_signal() -> None:
    """Its parent sees SIGINT, as of a program that does not catch it: a shell script stops there, too."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, "inspect", str(LATENT), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=allow_interrupts,
    )
    out, err = interrupt(process)
    assert process.returncode == -signal.SIGINT
    assert (out, err.strip()) == ("", "error: interrupted; nothing half-done was left behind")


def test_a_shell_sees_130() -> None:
    process = subprocess.Popen(
        ["bash", "-c", '"$0" -c "$1" inspect x; echo $?', sys.executable, INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=allow_interrupts,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert out == "130\n"


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("MemoryError()", "machine-fault", "not enough memory"),
        ("OSError(12, 'Cannot allocate memory')", "machine-fault", "not enough memory"),
        ('RuntimeError("can\'t start new thread")', "machine-fault", "no thread could be started"),
        ("OSError(5, 'Input/output error', 'a.json')", "machine-fault", "input/output error"),
        ("ImportError('libx.so: failed to map', name='x')", "missing-package", "libx.so: failed to map"),
    ],
)
def test_a_fault_of_the_machine_is_not_called_ours(fault: str, kind: str, said: str) -> None:
    code = (
        "from weightsmith import library\nfrom weightsmith.cli import main\n"
        f"def broken(*_, **__): raise {fault}\nlibrary.infer = broken\nmain()"
    )
    command = [sys.executable, "-c", code, "infer-config", str(LATENT), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert error_of(done)["kind"] == kind
    assert said in done.stderr and done.stderr.count("\n") == 1
