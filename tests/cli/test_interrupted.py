"""Interrupted means interrupted: the program ends by the signal, at whatever moment, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hostile.small import write_llama

if TYPE_CHECKING:
    from collections.abc import Callable

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
NOTHING = "error: interrupted; nothing half-done was left behind\n"


class Run:
    """The real program in a folder of its own, with TMPDIR in it; `code` runs before it, in the same process."""

    def __init__(self, folder: Path, *words: str, code: str = "", path: str = "") -> None:
        self.folder, self.temporary = folder, folder / "tmp"
        self.temporary.mkdir()
        program = (
            f"import sys; sys.argv[1:] = {list(words)!r}\n{code}\nfrom weightsmith.cli import main\nmain()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(self.temporary), "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=allow_interrupts,
        )

    def wait_for(self, seen: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 90
        while not seen():
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def end(self, *numbers: signal.Signals) -> tuple[int, str]:
        """Its status and what it said on stderr, after these signals, one shortly after another."""
        for number in numbers:
            if self.process.poll() is None:
                self.process.send_signal(number)
            time.sleep(0.02)
        out, err = self.process.communicate(timeout=30)
        assert out == ""
        return self.process.returncode, err

    def living(self) -> list[int]:
        """Processes whose environment names the temporary folder."""
        found = []
        for process in (entry for entry in os.scandir("/proc") if entry.name.isdigit()):
            try:
                with open(f"{process.path}/environ", "rb") as environment:  # noqa: PTH123
                    if str(self.temporary).encode() in environment.read():
                        found.append(int(process.name))
            except OSError:
                continue
        return found


def allow_interrupts() -> None:
    """A shell that runs the suite in the background hands down ignored signals."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def shared_memory_of(processes: list[int]) -> list[str]:
    """Segments that are named by one of these processes."""
    names = [path.name for path in Path("/dev/shm").iterdir()]
    return [name for name in names if {*name.split("_")} & {*map(str, processes)}]


@pytest.mark.parametrize("number", ENDING)
def test_while_a_child_works(number: signal.Signals, tmp_path: Path) -> None:
    write_llama(tmp_path / "model")
    run = Run(tmp_path, "infer-config", "model", "--check")
    run.wait_for(lambda: any(path.stat().st_size for path in run.temporary.glob("*/child/job.json")))
    processes = run.living()
    assert len(processes) >= 2
    assert run.end(number) == (-number, NOTHING)
    assert run.living() == []
    assert list(run.temporary.iterdir()) == []
    assert shared_memory_of(processes) == []


def test_a_second_signal_stops_no_cleaning(tmp_path: Path) -> None:
    write_llama(tmp_path / "model")
    run = Run(tmp_path, "infer-config", "model", "--check")
    run.wait_for(lambda: any(run.temporary.glob("*/child/job.json")))
    assert run.end(signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGHUP) == (-signal.SIGTERM, NOTHING)
    assert run.living() == []
    assert list(run.temporary.iterdir()) == []


@pytest.mark.parametrize("module", ["click", "weightsmith.cli.terminal", "json"])
@pytest.mark.parametrize("number", ENDING)
def test_while_modules_are_imported(module: str, number: signal.Signals, tmp_path: Path) -> None:
    """Nothing has begun, so nothing is said."""
    held = f"""
import sys, time
class Held:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            open("ready", "w").close()
            time.sleep(60)
sys.meta_path.insert(0, Held())
"""
    run = Run(tmp_path, "--help", code=held + f"sys.modules.pop({module!r}, None)")
    run.wait_for((tmp_path / "ready").exists)
    assert run.end(number) == (-number, "")


@pytest.mark.parametrize("number", ENDING)
def test_before_anything_is_finished_convert_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    write_llama(tmp_path / "model")
    run = Run(tmp_path, "convert", "model", "out", code=_held("make_plan", after=False))
    run.wait_for((tmp_path / "ready").exists)
    (tmp_path / "ready").unlink()
    # Nothing is to be cleaned up yet. Ctrl-C says so; of the others it is the kernel that ends the program.
    assert run.end(number) == (-number, NOTHING if number == signal.SIGINT else "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "tmp"]


@pytest.mark.parametrize("number", ENDING)
def test_convert_keeps_what_is_finished_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    write_llama(tmp_path / "model")
    run = Run(tmp_path, "convert", "model", "out", code=_held("execute", after=True))
    run.wait_for((tmp_path / "ready").exists)
    status, said = run.end(number, signal.SIGINT)
    assert status == -number
    (kept,) = tmp_path.glob(".out.weightsmith-*")
    assert said.splitlines()[-1] == (
        f"error: interrupted; what was finished is kept in {kept}: go on with --resume, or remove it"
    )
    again = subprocess.run(
        [sys.executable, "-m", "weightsmith", "convert", "model", "out", "--resume"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert "1 of 1 weights files were there from a killed run" in again.stderr
    assert not kept.exists()


def _held(function: str, *, after: bool) -> str:
    """Code that makes a step of the conversion wait before its end, or at its beginning."""
    return f"""
import time
from weightsmith.convert import run
step = run.{function}
def held(*args, **options):
    done = step(*args, **options) if {after} else None
    open("ready", "w").close()
    time.sleep(60)
run.{function} = held
"""


def test_a_killed_program_takes_its_child_along(tmp_path: Path) -> None:
    write_llama(tmp_path / "model")
    run = Run(tmp_path, "infer-config", "model", "--check")
    run.wait_for(lambda: any(run.temporary.glob("*/child/job.json")))
    assert len(run.living()) >= 2
    assert run.end(signal.SIGKILL)[0] == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while run.living() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.living() == []


def test_a_proof_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    write_llama(tmp_path / "model")
    run = Run(tmp_path, "infer-config", "model", "--check", "--json")
    out, err = run.process.communicate(timeout=120)
    assert run.process.returncode == 0, err
    assert '"holds"' in out
    assert list(run.temporary.iterdir()) == []
