"""Makes a CUDA build of torch importable without CUDA: a hollow library for each one that it asks for.

The CPU builds of vLLM 0.18 and 0.23 pair with torch 2.10.0 and 2.11.0, of which the package index has CUDA builds
only. On a CPU nothing of CUDA is ever called, but the loader wants the files and the names in them: 5 GB, or these
300 kB. Every function in them answers 100, "no CUDA-capable device".
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

_CUDA_LIBRARY = re.compile(r"^lib(cu|nccl|nvrtc|nvshmem|nvJitLink)[\w-]*\.so")
_CUDA_NAME = re.compile(r"^(cu|nccl|nvshmem|nvrtc|nvJitLink)\w+$")
_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
_VERSION_FILE = re.compile(r"File: (\S+)")
_VERSION_NAME = re.compile(r"Name: (\S+)\s+Flags")
# Names without a version are looked up by name alone, so that one library may have them all.
_UNVERSIONED_HOME = "libnccl.so"


def add_stubs(site_packages: Path) -> list[str]:
    """Builds the missing libraries beside torch's own; returns their names. Needs gcc and readelf."""
    folder = site_packages / "torch" / "lib"
    libraries = sorted(folder.glob("*.so*"))
    needed = {name for library in libraries for name in _NEEDED.findall(_readelf("-d", library))}
    missing = [n for n in sorted(needed) if _CUDA_LIBRARY.match(n) and not (folder / n).exists()]
    names = _undefined_names(libraries)
    for library in missing:
        unversioned = names[""][""] if library.startswith(_UNVERSIONED_HOME) else set()
        build(folder / library, names[library], unversioned)
    return missing


def build(
    path: Path, versioned: dict[str, set[str]] | None = None, unversioned: set[str] | None = None
) -> None:
    """A shared library `path` with functions of the given names; `versioned`: by symbol version."""
    nodes = {version: names for version, names in (versioned or {}).items() if version}
    functions = set().union(*nodes.values(), unversioned or ())
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch, "stub.c"), Path(scratch, "stub.map")
        source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in sorted(functions)))
        script.write_text("".join(f"{v} {{ global: {'; '.join(sorted(n))}; }};\n" for v, n in nodes.items()))
        command = ["gcc", "-shared", "-fPIC", "-nostdlib", "-w", f"-Wl,-soname,{path.name}"]
        if nodes:
            command.append(f"-Wl,--version-script={script}")
        subprocess.run([*command, "-o", str(path), str(source)], check=True)


def _undefined_names(libraries: list[Path]) -> dict[str, dict[str, set[str]]]:
    """Names that `libraries` want from CUDA: by file, then by version; both are "" for names without a version."""
    wanted: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    defined: set[str] = set()
    for library in libraries:
        file_of = _files_of_versions(library)
        for line in _readelf("--dyn-syms", "-W", library).splitlines():
            columns = line.split()
            if len(columns) < 8:
                continue
            name, _, version = columns[7].partition("@")
            if columns[6] != "UND":
                defined.add(name)
            elif version and _CUDA_LIBRARY.match(file_of.get(version, "")):
                wanted[file_of[version]][version].add(name)
            elif not version and _CUDA_NAME.match(name):
                wanted[""][""].add(name)
    wanted[""][""] -= defined
    return wanted


def _files_of_versions(library: Path) -> dict[str, str]:
    """Symbol version → the file that `library` expects it in."""
    files: dict[str, str] = {}
    file = ""
    for line in _readelf("-V", "-W", library).splitlines():
        if found := _VERSION_FILE.search(line):
            file = found[1]
        elif found := _VERSION_NAME.search(line):
            files[found[1]] = file
    return files


def _readelf(*arguments: str | Path) -> str:
    told = subprocess.run(["readelf", *map(str, arguments)], capture_output=True, text=True, check=False)
    return told.stdout
