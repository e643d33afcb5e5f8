"""Runs `weightsmith doctor --json` on a fake machine and returns what it said."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .stage import Libraries, stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from .atlas import Atlas

HERE = Path(__file__).resolve().parent
SPACES = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
# Asked of weightsmith's interpreter: where it lies, and which entries of its site-packages belong to weightsmith and
# what it requires. All else there is hidden: the fake machine's packages are the only ones.
_ABOUT = """
import importlib.metadata as metadata, json, re, sys, sysconfig
from pathlib import Path
site, wanted = {}, ["weightsmith"]
for name in wanted:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        continue
    place = str(Path(found.locate_file("")).resolve())
    if "packages" in place:
        names = site.setdefault(place, ["pip"])
        names += {part for file in found.files or () if (part := Path(file).parts[0]) not in ("..", "/")}
    for line in found.requires or ():
        more = re.match(r"[\\w.-]+", line)[0]
        if "extra ==" not in line and more not in wanted:
            wanted.append(more)
for path in sys.path:  # nothing of weightsmith: nothing of it is to be seen
    if path.endswith(("site-packages", "dist-packages")) and Path(path).is_dir():
        site.setdefault(str(Path(path).resolve()), [])
import weightsmith
needed = [sys.executable, sys.prefix, sys.base_prefix, str(Path(weightsmith.__file__).parent)]
print(json.dumps({"site": site, "needed": needed, "python": sys.version_info[:2],
                  "extension": sysconfig.get_config_var("EXT_SUFFIX")}))
"""


@dataclass(frozen=True)
class Answer:
    """code: its exit code, None where it did not end in time. checks: of its document, () where there is none.
    absent: files that a fix tells to source, and that are not on the machine."""

    code: int | None
    checks: tuple[dict[str, str], ...]
    complaint: str = ""
    absent: tuple[str, ...] = ()


class Doctor:
    """weightsmith's doctor, to be asked about many machines. command: weightsmith itself, or a Python that has it."""

    def __init__(self, command: str) -> None:
        if os.geteuid() or not all(map(shutil.which, ("unshare", "timeout", "gcc"))):
            raise SystemExit("fake machines need root, and the programs unshare, timeout and gcc")
        path = Path(shutil.which(command) or command).absolute()
        if path.name.startswith("python"):
            interpreter, self.command = str(path), [str(path), "-m", "weightsmith.cli"]
        else:
            *_, interpreter = path.read_text().partition("\n")[0].removeprefix("#!").split()
            interpreter, self.command = shutil.which(interpreter) or interpreter, [str(path)]
        if "python" not in Path(interpreter).name:
            raise SystemExit(f"{path} is no Python script: name weightsmith's own one, or its Python")
        about = subprocess.run(
            [interpreter, "-c", _ABOUT], capture_output=True, text=True, check=True, cwd="/"
        )
        self.about = json.loads(about.stdout)

    def __enter__(self) -> Doctor:
        self.folder = Path(tempfile.mkdtemp(prefix="atlas-"))
        self.libraries = Libraries(self.folder / "libraries")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self.folder)

    def ask(
        self, machine: Atlas, patience: float = 60.0, words: Sequence[str] = ("doctor", "--json")
    ) -> Answer:
        place = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            return self._ask(machine, place, patience, words)
        finally:
            shutil.rmtree(place)

    def _ask(self, machine: Atlas, place: Path, patience: float, words: Sequence[str]) -> Answer:
        root, rooms = place / "root", place / "rooms"
        root.mkdir()
        rooms.mkdir()
        staged = stage(machine, root, self.libraries, tuple(self.about["python"]), self.about["extension"])
        plan = {
            **staged.facts,
            "root": str(root),
            "rooms": str(rooms),
            "site": self.about["site"],
            "open": self._homes() | (self._closed() if machine.user else {}),
            "environment": dict(staged.environment),
            "command": [*self.command, *words],
        }
        (place / "plan.json").write_text(json.dumps(plan))
        # `timeout` ends it even if this process is killed; unshare then takes the machine's processes with it.
        command = ["timeout", "--signal=KILL", str(patience), "unshare", *SPACES]
        command += [sys.executable, str(HERE / "enter.py"), str(place / "plan.json")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode in (137, -signal.SIGKILL):
            return Answer(None, (), f"no answer within {patience:.0f} s")
        try:
            checks = tuple(json.loads(done.stdout)["checks"])
        except (ValueError, KeyError):
            return Answer(done.returncode, (), (done.stderr or done.stdout).strip()[-600:])
        return Answer(done.returncode, checks, absent=tuple(_absent(checks, root)))

    def _ways(self) -> list[Path]:
        """What a process on the machine must reach: weightsmith, its interpreter, and this one, which runs npu-smi."""
        return [Path(way).resolve() for way in (*self.about["needed"], sys.executable, sys.base_prefix)]

    def _homes(self) -> dict[str, list[str]]:
        """root's home shows only what is needed of it, and takes what is written there."""
        home = Path("/root")
        return {str(home): [way.relative_to(home).parts[0] for way in self._ways() if home in way.parents]}

    def _closed(self) -> dict[str, None]:
        """Folders on the way that only their owner may pass, outermost first."""
        folders = {folder for way in self._ways() for folder in (*way.parents, way) if folder.is_dir()}
        closed = sorted(str(folder) for folder in folders if not folder.stat().st_mode & 0o001)
        return dict.fromkeys(folder for folder in closed if folder != "/root")


def _absent(checks: Sequence[dict[str, str]], root: Path) -> Iterator[str]:
    """What is yet to be installed may be named before it is there."""
    for check in checks:
        for path in re.findall(r"source\s+(/\S+?\.(?:sh|bash))", check["fix"]):
            if not (root / path.lstrip("/")).exists() and not re.search(r"\binstall", check["fix"]):
                yield path


def shown(answer: Answer, verdicts: Sequence[str] = ("fail", "warn")) -> str:
    """What it said, short."""
    lines = [f"  exit {answer.code} {answer.complaint}".rstrip()]
    for check in answer.checks:
        if check["verdict"] in verdicts:
            lines.append(
                f"  {check['verdict']:<5} {check['name']}: {check['found']} -> {check['fix'] or '-'}"
            )
    return "\n".join(lines)
