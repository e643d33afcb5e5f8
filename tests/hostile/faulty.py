"""Machines that fail: a full disk, a disk that gives no bytes, a clock that jumps, changing files.

What the kernel can do by itself, it does: a full or read-only file system is mounted in a mount namespace of the case's
own, and limits are set by the shell. All else is done by `faults.c`, a small library that the system loads into the
program before the C library.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("faults.c")


@cache
def faults_library() -> Path | None:
    """`faults.c`, compiled; None where no compiler makes it and loads."""
    made = Path(tempfile.gettempdir()) / f"weightsmith-faults-{_SOURCE.stat().st_mtime_ns}.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not made.exists() and compiler:
        with tempfile.TemporaryDirectory() as folder:
            fresh = Path(folder) / "faults.so"
            command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(fresh), str(_SOURCE), "-ldl"]
            if not subprocess.run(command, capture_output=True).returncode:
                shutil.move(fresh, made)
    return made if made.exists() else None


def lacks_compiler() -> str:
    """Why no fault can be injected here; empty where it can."""
    return "" if faults_library() else "no C compiler makes the library of faults"


@cache
def lacks_mounts() -> str:
    """Why no file system can be mounted here; empty where one can."""
    try:
        command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
        tried = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        return f"no unshare here: {error}"
    return "" if not tried.returncode else f"nothing may be mounted here: {tried.stderr.strip()}"


def mounted(options: str, line: str, folder: str = "disk") -> str:
    """A line of the shell that runs another one in a mount namespace where `folder` is a small file system."""
    mount = f"mkdir -p {folder} && mount -t tmpfs -o {options} none {folder} && "
    return f"export -f weightsmith; unshare -m bash -c {shlex.quote(mount + line)}"


def environment(call: str, path: str, do: str | int, skip: int = 0) -> dict[str, str]:
    """What tells the library what to do: see `faults.c`."""
    told = {"FAULT_CALL": call, "FAULT_PATH": path, "FAULT_DO": str(do), "FAULT_SKIP": str(skip)}
    return {"LD_PRELOAD": str(faults_library() or ""), **told}
