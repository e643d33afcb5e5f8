"""Which packages of the stack are installed, in this Python and in others, and what their METADATA says."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith import installed
from weightsmith.machine.facts import Interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.machine.reading.disk import Disk

STACK = (*installed.STACK, "torchvision", "torchaudio", "torchcodec", "triton", "triton-ascend")
ENTRY_POINTS = ("vllm.platform_plugins", "vllm.general_plugins")
_PLACES = (
    "/usr/local/python3*",
    "/home/*/anaconda3/envs/*",
    "/home/*/miniconda3/envs/*",
    "/opt/conda",
    "/opt/conda/envs/*",
)
_DISTRIBUTION = re.compile(r"([\w.]+)-([^-]+)\.(?:dist|egg)-info")


def this() -> Interpreter:
    # What an interrupted installation leaves may have no METADATA, and then no version.
    packages = {name: version or "unknown" for name, version in installed.versions(STACK).items()}
    return Interpreter(sys.executable, sys.prefix, platform.python_version(), packages)


def requirements() -> dict[str, tuple[str, ...]]:
    """Package → what its METADATA requires, of those whose word counts."""
    found = {}
    for name in ("vllm-ascend", "vllm", "torch-npu"):
        try:
            found[name] = tuple(importlib.metadata.requires(name) or ())
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def plugins() -> dict[str, tuple[str, ...]]:
    """Group of entry points that vLLM loads → their names."""
    return {
        group: tuple(sorted({point.name for point in importlib.metadata.entry_points(group=group)}))
        for group in ENTRY_POINTS
    }


def build() -> str | None:
    """For which chips the installed vllm-ascend was built; 0.11 wrote the chip instead, 0.9 nothing."""
    package = importlib.util.find_spec("vllm_ascend") if "vllm_ascend" not in sys.modules else None
    for folder in (package and package.submodule_search_locations) or ():
        try:
            text = (Path(folder) / "_build_info.py").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if stated := re.search(r"__(?:device_type|soc_version)__\s*=\s*['\"]([^'\"]+)", text):
            return stated[1]
    return None


def others(disk: Disk, environment: Mapping[str, str]) -> tuple[Interpreter, ...]:
    """Other Pythons on the PATH, of `vllm`'s first line, and where images put them, that hold torch-npu or vllm-ascend.

    Their files are looked at; none is run.
    """
    found: dict[str, Interpreter] = {}
    for executable in _candidates(disk, environment):
        prefix = str(Path(executable).parent.parent)
        if Path(prefix) == Path(sys.prefix) or prefix in found:
            continue
        for site in disk.listed(disk.at(prefix), "lib/python3*/site-packages"):
            packages = _distributions(disk, site)
            if {"torch-npu", "vllm-ascend"} & packages.keys():
                found[prefix] = Interpreter(
                    executable, prefix, site.parent.name.removeprefix("python"), packages
                )
    return tuple(found.values())


def _candidates(disk: Disk, environment: Mapping[str, str]) -> Iterator[str]:
    for folder in environment.get("PATH", "").split(":"):
        script = disk.at(folder) / "vllm"
        if (
            named := re.match(r"#!\s*(/\S*python\S*)", disk.text(script)[:200])
            if disk.is_file(script)
            else None
        ):
            yield named[1]
        for name in ("python3", "python"):
            if disk.is_file(disk.at(folder) / name):
                yield f"{folder}/{name}"
    for place in (environment.get("CONDA_PREFIX"), environment.get("VIRTUAL_ENV")):
        if place:
            yield f"{place}/bin/python"
    for pattern in _PLACES:
        for prefix in disk.listed(disk.root, pattern.lstrip("/")):
            if disk.is_file(prefix / "bin/python3"):
                yield f"{disk.name(prefix)}/bin/python3"


def _distributions(disk: Disk, site: Path) -> dict[str, str]:
    named = (_DISTRIBUTION.fullmatch(path.name) for path in disk.listed(site, "*-info"))
    stack = {match[1].lower().replace("_", "-").replace(".", "-"): match[2] for match in named if match}
    return {name: version for name, version in stack.items() if name in STACK}
