"""Weightsmith's own command line in processes that have imported vLLM and transformers already.

Most of what a case costs is the import of both, in each engine and each reference. Here one process imports them once,
and every command is a fork of it: `python -m benchmarks.faults.warm SOCKET`. The children that the command starts
(`weightsmith.process.group`) are forks as well: of the same modules, in the same folders, with the same environment,
in groups of their own. What differs is that nothing is imported again. Where a variable that is read during an import
has another value than here, the child is started as it always is.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import runpy
import signal
import socketserver
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from benchmarks.faults.command_line import CALM, Done, read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_IMPORTED = ("vllm", "vllm.v1.engine.llm_engine", "vllm.v1.worker.cpu_model_runner", "transformers", "torch")
_REFERENCE = "weightsmith.verify.reference.worker"
_ENGINES = ("weightsmith.verify.engine.worker", "weightsmith.verify.engine.server_worker")
# What torch, OpenMP and vLLM read while they are imported, as `verify` sets it for an engine whose settings it chooses.
_AT_IMPORT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TORCHDYNAMO_DISABLE": "1",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
}
# Cases run side by side: a thread for each is quicker than threads that wait for one another on busy cores.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
_READY_SECONDS = 300.0


class Warm:
    """The server, for the bench. It ends with the block."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "warm"

    def __enter__(self) -> Warm:
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, **_AT_IMPORT, **_ONE_THREAD, "PYTHONPATH": root}
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._socket)], env=environment, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _READY_SECONDS
        while not self._socket.exists():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the process that imports vLLM did not come up")
            time.sleep(0.1)
        return self

    def __exit__(self, *reason: object) -> None:
        self._server.terminate()
        self._server.wait()

    def weightsmith(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> Done:
        """As `command_line.weightsmith`."""
        import socket

        job = {"arguments": [arguments[0], "--json", *arguments[1:]], "folder": str(folder)}
        job["environment"] = {**os.environ, **CALM, **_ONE_THREAD, **(environment or {})}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(job) + "\n")
                stream.flush()
                code, output, errors = json.loads(stream.readline())
        return read(code, output, errors)


class _Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 64


class _Handler(socketserver.StreamRequestHandler):
    """In a fork of the server: runs one command in a fork of its own, and hands back what it printed."""

    def handle(self) -> None:
        job = json.loads(self.rfile.readline())
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with contextlib.ExitStack() as stack:
            import tempfile

            out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            pid = os.fork()
            if not pid:
                _become(job["environment"], Path(job["folder"]), out.fileno(), err.fileno())
                _command(job["arguments"])
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            said = []
            for stream in (out, err):
                stream.seek(0)
                said.append(stream.read().decode("utf-8", "replace"))
        self.wfile.write((json.dumps([status, *said]) + "\n").encode())


def _become(environment: Mapping[str, str], folder: Path, output: int, errors: int) -> None:
    """Takes on another process's environment, folder and output."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(source, target)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8", line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", line_buffering=True)
    for entry in reversed(environment.get("PYTHONPATH", "").split(os.pathsep)):
        if entry and entry not in sys.path:
            sys.path.insert(0, entry)
    importlib.invalidate_caches()


def _command(arguments: Sequence[str]) -> NoReturn:
    """Weightsmith's program, whose children are forks."""
    from weightsmith.cli.main import main
    from weightsmith.process import group

    group.subprocess = _Subprocess  # type: ignore[attr-defined, assignment]
    sys.argv[:] = ["weightsmith", *arguments]
    code: object = 0
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1 if code else 0)


class _Subprocess:
    """What `weightsmith.process.group` takes of the module `subprocess`, with forks in it."""

    DEVNULL, STDOUT, TimeoutExpired = subprocess.DEVNULL, subprocess.STDOUT, subprocess.TimeoutExpired

    @staticmethod
    def Popen(command: list[str], *, env: dict[str, str], cwd: Path, stdout: Any, **more: Any) -> Any:  # noqa: N802
        warm = all(env.get(name) == value for name, value in _AT_IMPORT.items())
        if command[4] == _REFERENCE or (command[4] in _ENGINES and warm):
            return _Fork(command[3:], env, cwd, stdout.fileno())
        return subprocess.Popen(command, env=env, cwd=cwd, stdout=stdout, **more)


class _Fork:
    """A child as `subprocess.Popen` would be one, for what `group` asks of it."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path, log: int) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            _become(environment, folder, log, log)
            sys.argv[:] = ["entry", *command]
            with contextlib.suppress(SystemExit):
                runpy.run_module("weightsmith.process.entry", run_name="__main__", alter_sys=True)
            os._exit(1)

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("fork", timeout or 0)
            else:
                time.sleep(0.01)
        return self.returncode


def main() -> None:
    path = Path(sys.argv[1])
    for name in (*_IMPORTED, *_ENGINES, _REFERENCE, "weightsmith.cli.main"):
        importlib.import_module(name)
    unborn = path.with_suffix(".new")
    with _Server(str(unborn), _Handler) as server:
        unborn.rename(path)  # whoever sees the path may connect
        server.serve_forever()


if __name__ == "__main__":
    main()
