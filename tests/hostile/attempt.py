"""One hostile case: made, run under limits, judged."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CPU_SECONDS = 2.0
MEGABYTES = 500.0
LONGEST_ERROR = 600
# A hang is told from slowness by this, and by what the launcher allows: no case comes near them.
_HANG_SECONDS = 60
_LAUNCHER = Path(__file__).with_name("launcher.py")

# C0 but newline and tab, DEL, C1, and what turns or breaks a line in a terminal.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ANSWERS = frozenset({0, 1, 2})


@dataclass(frozen=True, slots=True)
class Case:
    """name: `kind.what`. make: fills the empty folder, and returns the words of the command that meets it.

    exits: the exit codes that are right. says: a pattern that stdout or stderr must have. writes: names in the folder
    that the command may make or change. env: variables beside the usual ones. shell: the words are one line for a
    shell, in which `weightsmith` is the program. megabytes, cpu: the limits, where other ones are stated for a reason.
    lacks: what this machine lacks to make the case, in words; empty where it lacks nothing.
    """

    name: str
    make: Callable[[Path], Sequence[str]]
    exits: frozenset[int] = _ANSWERS
    says: str = ""
    writes: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    shell: bool = False
    megabytes: float = MEGABYTES
    cpu: float = CPU_SECONDS
    lacks: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class Outcome:
    """broken: each promise that was not kept, in words. cpu: seconds. megabytes: the largest resident size."""

    broken: tuple[str, ...]
    code: int
    cpu: float
    megabytes: float
    stdout: str
    stderr: str


def attempt(case: Case, scratch: Path, *, patience: float = 1.0) -> Outcome:
    """Makes the case's input under `scratch`, an empty folder, runs the program and judges what it did.

    patience: what the CPU limit is multiplied with.
    """
    folder, home, temporary = (scratch / name for name in ("input", "home", "tmp"))
    for path in (folder, home, temporary):
        path.mkdir(mode=0o700)
    (home / ".profile").write_text("# nobody else's\n", encoding="utf-8")
    canary = scratch / "canary"
    words = case.make(folder)
    before = {**_content(folder), **_content(home)}
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "WEIGHTSMITH"))},
        **{"HOME": str(home), "TMPDIR": str(temporary), "CANARY": str(canary), "COLUMNS": "100"},
        **case.env,
    }
    used, out, err = _run(_command(case, words), folder, environment, scratch / "used")
    after = {**_content(folder), **_content(home)}
    stdout, stderr = (text.decode("utf-8", "replace") for text in (out, err))
    broken = [
        *_wrong_end(used.code, case.exits),
        *_wrong_words(stdout, stderr, case.says),
        *_wrong_traces(before, after, case.writes, folder),
    ]
    if used.cpu > case.cpu * patience:
        broken.append(f"CPU {used.cpu:.1f} s")
    if used.megabytes > case.megabytes:
        broken.append(f"{used.megabytes:.0f} MB")
    if canary.exists():
        broken.append("CANARY: something of the input was executed")
    if left := sorted(path.name for path in temporary.iterdir()):
        broken.append(f"left in TMPDIR: {left[:3]}")
    return Outcome(tuple(broken), used.code, used.cpu, used.megabytes, stdout, stderr)


def _command(case: Case, words: Sequence[str]) -> list[str]:
    program = [sys.executable, "-m", "weightsmith"]
    if not case.shell:
        return [*program, *words]
    (line,) = words
    call = " ".join(f"'{word}'" for word in program)
    return ["bash", "-c", f'weightsmith() {{ {call} "$@"; }}\n{line}']


@dataclass(frozen=True, slots=True)
class _Used:
    """The exit code, minus the number of the signal that ended it, and what it used with its children."""

    code: int
    cpu: float
    megabytes: float


def _run(
    command: Sequence[str], folder: Path, env: Mapping[str, str], report: Path
) -> tuple[_Used, bytes, bytes]:
    """What the command used, its stdout and its stderr. report: a free path."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), str(report), *command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=_HANG_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    if not report.exists():
        return _Used(-signal.SIGKILL, 0.0, 0.0), out, err
    status, cpu, megabytes = report.read_text(encoding="ascii").split()
    return _Used(os.waitstatus_to_exitcode(int(status)), float(cpu), float(megabytes)), out, err


def _wrong_end(code: int, exits: frozenset[int]) -> Iterator[str]:
    if code in {-signal.SIGKILL, -signal.SIGXCPU}:
        yield "hang: killed"
    elif code not in exits:
        yield f"exit {code}, not one of {sorted(exits)}"


def _wrong_words(stdout: str, stderr: str, says: str) -> Iterator[str]:
    if "Traceback (most recent call last)" in stderr or "Exception ignored" in stderr:
        yield "traceback"
    if "weightsmith itself" in stderr or "weightsmith itself" in stdout:
        yield "internal error"
    errors = [line for line in stderr.splitlines() if line.startswith("error:")]
    if len(errors) > 1:
        yield f"{len(errors)} error lines"
    if any(len(line) > LONGEST_ERROR for line in errors):
        yield f"an error line of {max(map(len, errors))} characters"
    for name, text in (("stdout", stdout), ("stderr", stderr)):
        if found := _CONTROL.search(text):
            yield f"control character {found.group()!r} on {name}"
    if says and not re.search(says, stdout + stderr):
        yield f"does not say {says!r}"


def _wrong_traces(
    before: Mapping[Path, object], after: Mapping[Path, object], writes: Sequence[str], folder: Path
) -> Iterator[str]:
    allowed = [folder / name for name in writes]
    for path in sorted(before.keys() | after.keys()):
        if any(path == name or path.is_relative_to(name) for name in allowed):
            continue
        if before.get(path) != after.get(path):
            yield f"touched {path.name!r}"


def _content(folder: Path) -> dict[Path, object]:
    """What each thing below a folder is; of regular files that are not huge also a hash."""
    found: dict[Path, object] = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        kind = stat.S_IFMT(about.st_mode)
        if stat.S_ISLNK(about.st_mode):
            found[path] = (kind, str(path.readlink()))
        elif stat.S_ISREG(about.st_mode) and about.st_size < 1 << 24:
            found[path] = (kind, hashlib.blake2b(path.read_bytes()).hexdigest())
        else:
            found[path] = (kind, about.st_ino)
    return found
