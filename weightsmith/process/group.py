"""Starts a child process. It leads a process group of its own, which ends with the block and with this process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.process.signals import signals_held_back

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_ENTRY = "weightsmith.process.entry"
# What the child and its children print, in their folder.
LOG = "log.txt"
# A killed process of the group is gone in milliseconds; what nobody reaps stays a zombie for ever.
_DYING_SECONDS = 0.5
_DYING_POLL_SECONDS = 0.01
_UNKILLABLE_SECONDS = 5.0
# Segments of shared memory whose names begin so end with their process.
_BY_PROCESS = re.compile(r"(?:__KMP_REGISTERED_LIB|torch)_([0-9]+)_")


@contextmanager
def started(module: str, folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `python -m module folder` in `folder`, which must be there; the whole group is killed at the block's end.

    folder: private to the child. Python imports from the working directory first, so it may hold nothing but our
    own files, least of all a stranger's model. It is the child's TMPDIR as well, and its log is `log.txt` in it.
    environment: the whole of the child's, but for what is set here.

    The child dies with the thread that started it (Linux), so the block should run in one that lasts.
    """
    process = None
    command = [sys.executable, "-m", _ENTRY, str(os.getpid()), module, str(folder)]
    try:
        # A signal between the start and the assignment would leave a child that nobody ends.
        with signals_held_back(), (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=_environment(folder, environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        yield process
    finally:
        if process is not None:
            end(process)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child itself is over. It is not reaped, so that its process id still names its group."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # whoever started us ignores SIGCHLD, and the kernel reaps by itself
        return True


def end(process: subprocess.Popen[bytes]) -> int:
    """Kills whoever of the child's group is still alive, the child included; its exit status as Popen tells it.

    vLLM's workers are children of the child: they outlive it when only the child is killed. Nor does who is killed, or
    leaves in a hurry, remove its shared memory.
    """
    if process.returncode is not None:
        return process.returncode  # only this function reaps
    with signals_held_back():
        members = {process.pid, *_members(process.pid)}
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        status = _reaped(process)
        # The others die on their own time, and until then may write into the folder that is removed next.
        deadline = time.monotonic() + _DYING_SECONDS
        with contextlib.suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < deadline:
                os.killpg(process.pid, 0)
                time.sleep(_DYING_POLL_SECONDS)
        _remove_shared_memory(members)
    return status


def _reaped(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a killed child. One that waits in the kernel for a dead device never ends: nobody waits."""
    try:
        return process.wait(_UNKILLABLE_SECONDS)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def work_done(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """What the child's group has done so far: clock ticks of CPU, and bytes read. Who makes progress adds to them."""
    ticks = read = 0
    for member in _members(process.pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # Behind the name, which may hold blanks: fields 14 to 17 of proc(5), its reaped children included.
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            read += int(Path(f"/proc/{member}/io").read_text().split()[1])
    return ticks, read


def _members(group: int) -> Iterator[int]:
    """The processes of a group (Linux)."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if os.getpgid(int(entry.name)) == group:
                yield int(entry.name)


def _remove_shared_memory(processes: Collection[int]) -> None:
    """Removes what OpenMP and torch name by a process in /dev/shm, once these processes are gone."""
    for path in Path("/dev/shm").glob("*_*"):
        named = _BY_PROCESS.match(path.name)
        with contextlib.suppress(OSError):
            if named and int(named[1]) in processes and path.lstat().st_uid == os.geteuid():
                path.unlink()


def _environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        # Whatever the engine drops (rendezvous files, compile caches) goes when the folder goes.
        "TMPDIR": str(folder),
    }
