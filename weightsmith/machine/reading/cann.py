"""Driver, CANN and NNAL: what is installed, wherever it may lie, and what this shell's variables name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.machine.facts import Driver, Nnal, Toolkit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from weightsmith.machine.reading.disk import Disk

SYSTEM = "/usr/local/Ascend"
# Set by CANN's set_env.sh, in this order of trust.
HOMES = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")
FOLDERS = (*HOMES, "ASCEND_OPP_PATH", "ATB_HOME_PATH")
_HAL = "libascend_hal.so"
_OPERATORS = "opp/built-in/op_impl/ai_core/tbe/kernel"
# Where its libraries lie, under CANN's home and under NNAL's.
_LIBRARY_FOLDERS = (
    "lib64",
    "devlib",
    "*-linux/lib64",
    "*-linux/devlib",
    "latest/atb/*/lib",
    "lib64/driver",
    "lib64/common",
)


def driver(disk: Disk) -> Driver:
    """Its installer notes another place than the usual in /etc/ascend_install.info."""
    stated = re.search(
        r"^Driver_Install_Path_Param=(\S+)", disk.text("/etc/ascend_install.info"), re.MULTILINE
    )
    for prefix in dict.fromkeys([stated[1] if stated else SYSTEM, SYSTEM]):
        home = disk.at(prefix) / "driver"
        version = re.search(r"^Version=(\S+)", disk.text(home / "version.info"), re.MULTILINE | re.IGNORECASE)
        folders = [home / "lib64/driver", home / "lib64/common", home / "lib64"]
        libraries = tuple(disk.name(folder) for folder in folders if disk.is_file(folder / _HAL))
        if version or libraries:
            source = disk.name(home / "version.info") if version else None
            return Driver(version[1] if version else None, source, libraries)
    return Driver()


def prefixes(disk: Disk, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where CANN and NNAL may be installed: the system's folder, the user's, the one that the installer noted, and
    those around the folders that variables name."""
    places = [SYSTEM]
    if home := environment.get("HOME"):
        places.append(f"{home.rstrip('/')}/Ascend")
    # Of another user: root in a container finds what HwHiAiUser installed.
    places += [disk.name(home) for home in disk.listed(disk.root, "home/*/Ascend")]
    noted = disk.text("/etc/Ascend/ascend_cann_install.info")
    places += re.findall(r"^\w*Install_Path\w*=(\S+)", noted, re.MULTILINE)
    for variable in FOLDERS:
        around = re.match(
            r"(/.+?)/(?:cann(?:-[^/]*)?|ascend-toolkit|nnal|latest)(?:/|$)", environment.get(variable, "")
        )
        if around:
            places.append(around[1])
    return tuple(dict.fromkeys(places))


def toolkits(disk: Disk, places: tuple[str, ...]) -> tuple[Toolkit, ...]:
    """Every CANN that is there: `cann-<version>` since 8.5, `ascend-toolkit/<version>` before. Links count once."""
    homes: dict[Path, Path] = {}
    for place in places:
        prefix = disk.at(place)
        for home in [*disk.listed(prefix, "cann*"), *disk.listed(prefix, "ascend-toolkit/*")]:
            if disk.is_folder(home) and disk.is_folder(kit := disk.resolved(home)):
                homes.setdefault(kit, prefix)
    return tuple(_toolkit(disk, home, prefix) for home, prefix in homes.items() if _is_toolkit(disk, home))


def _is_toolkit(disk: Disk, home: Path) -> bool:
    return any(disk.is_folder(home / name) for name in ("lib64", "opp")) or any(disk.listed(home, "*-linux"))


def _toolkit(disk: Disk, home: Path, prefix: Path) -> Toolkit:
    scripts = [home / "set_env.sh"]
    # The scripts beside the links are those of the CANN that the links lead to.
    if disk.resolved(prefix / "ascend-toolkit/latest") == home:
        scripts.append(prefix / "ascend-toolkit/set_env.sh")
    script = next((disk.name(script) for script in scripts if disk.is_file(script)), None)
    kernels = home / _OPERATORS
    chips = tuple(sorted(d.name for d in disk.listed(kernels, "ascend*") if disk.listed(d, "*")))
    return Toolkit(disk.name(home), cann_version(disk, home), script, chips)


def cann_version(disk: Disk, home: Path) -> str | None:
    """From the note that its installer leaves, else from the folder's name."""
    for note in disk.listed(home, "*-linux/ascend_toolkit_install.info"):
        if stated := re.search(r"^version=(\S+)", disk.text(note), re.MULTILINE):
            return stated[1]
    if stated := re.search(r"^Version=(\S+)", disk.text(home / "runtime/version.info"), re.MULTILINE):
        return stated[1]
    named = re.fullmatch(r"(?:cann-)?(\d[\w.]*)", home.name)
    return named[1] if named else None


def sourced_home(disk: Disk, environment: Mapping[str, str]) -> str | None:
    """The folder of the CANN that this shell's variables name, links followed."""
    for variable in HOMES:
        named = environment.get(variable)
        if named and disk.is_folder(disk.at(named)):
            return disk.name(disk.resolved(disk.at(named.rstrip("/"))))
    return None


def missing_folders(disk: Disk, environment: Mapping[str, str]) -> dict[str, str]:
    """Variable → the folder that it names and that is not there."""
    named = {variable: environment[variable] for variable in FOLDERS if environment.get(variable)}
    return {variable: folder for variable, folder in named.items() if disk.is_gone(disk.at(folder))}


def nnals(disk: Disk, places: tuple[str, ...]) -> tuple[Nnal, ...]:
    return tuple(_nnal(disk, home) for place in places if disk.is_folder(home := disk.at(place) / "nnal/atb"))


def _nnal(disk: Disk, home: Path) -> Nnal:
    notes = [home / "latest/version.info", *disk.listed(home, "*/version.info")]
    stated = (re.search(r"Ascend-cann-atb(?: Version)?\s*:\s*(\S+)", disk.text(note)) for note in notes)
    version = next((found[1] for found in stated if found), None)
    script = home / "set_env.sh"
    return Nnal(disk.name(home), version, disk.name(script) if disk.is_file(script) else None)


def homes(driver: Driver, kits: Iterable[Toolkit], nnals: Iterable[Nnal]) -> tuple[str, ...]:
    """The folders under which the libraries of all layers lie."""
    return (*driver.libraries, f"{SYSTEM}/driver", *(kit.home for kit in kits), *(one.home for one in nnals))


def lying(disk: Disk, libraries: Iterable[str], folders: Sequence[str]) -> dict[str, str]:
    """Library → where it lies on the disk, under one of these folders; left out where it does not."""
    return {name: place for name in libraries if (place := next(_found(disk, name, folders), None))}


def _found(disk: Disk, library: str, places: Sequence[str]) -> Iterator[str]:
    for home in places:
        for folder in _LIBRARY_FOLDERS:
            for path in disk.listed(disk.at(home), f"{folder}/{library}"):
                yield disk.name(path)
