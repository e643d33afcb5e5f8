"""The module that every child process runs first: `python -m weightsmith.process.entry PARENT MODULE ARGUMENT…`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Asks Linux to kill this process when its parent goes, even by SIGKILL; elsewhere nothing is asked.

    parent: the process id of whoever started this one. If it has gone before it could be asked for, this process
    belongs to another parent by now and ends at once.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    parent, module, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    sys.argv[:] = [module, *arguments]
    # As `python -m module` does: children of the child (multiprocessing's spawn) find their main module by its name.
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
