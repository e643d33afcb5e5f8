"""From a machine's facts to its files: a folder that looks like `/`, and the variables of a shell on that machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atlas import ASCEND, CHIPS, TBE, Atlas

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
ARCH = f"{platform.machine()}-linux"
SITE = "lib/python{0}.{1}/site-packages"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CANN_LIBRARIES = (
    "libhccl.so", "libascendcl.so", "libge_runner.so", "libgraph.so", "libacl_op_compiler.so", "libopapi.so",
)  # fmt: skip
SOUND = "int stub(void){return 0;}"
# A module for any CPython 3: its definition is laid out by hand, so that no header is needed.
EXTENSION = """
typedef long n; typedef struct { n refs; void *type, *init; n index; void *copy; const char *name, *doc; n size;
  void *methods, *slots, *traverse, *clear, *free; } Module;
static Module m = {1, 0, 0, 0, 0, "vllm_ascend_C", 0, -1, 0, 0, 0, 0, 0};
extern void *PyModule_Create2(void *, int);
void *PyInit_vllm_ascend_C(void) { return PyModule_Create2(&m, 1013); }
"""


@dataclass(frozen=True)
class Staged:
    """A machine, ready to be entered. facts: for `enter`. environment: of the shell in which the doctor runs."""

    root: Path
    facts: Mapping[str, Any]
    environment: Mapping[str, str]


def stage(
    machine: Atlas, root: Path, libraries: Libraries, python: tuple[int, int], extension: str
) -> Staged:
    """python: version of weightsmith's interpreter. extension: its suffix of compiled modules."""
    prefix = machine.other_python or "/usr/local/python3.11.14"
    site = f"{prefix}/{SITE.format(*python)}"
    variables = {"PATH": PATH, "HOME": machine.home, "PYTHONDONTWRITEBYTECODE": "1"}
    search = _driver(machine, root, libraries) + _cann(machine, root, libraries, variables)
    search += _nnal(machine, root, libraries, variables)
    _packages(machine, root / site.lstrip("/"), libraries, extension)
    if machine.other_python:
        variables["PATH"] = f"{prefix}/bin:{PATH}"
        _interpreter(root, prefix, site)
    else:
        variables["PYTHONPATH"] = site
    _accounts(machine, root)
    _npu_smi(machine, root)
    variables |= {"LD_LIBRARY_PATH": ":".join(search), **machine.environment}
    control = machine.nodes if machine.control is None else machine.control
    facts = {
        "nodes": [f"davinci{n}" for n in machine.numbers] + list(control),
        "owner": machine.owner,
        "mode": machine.mode,
        "shm": machine.shm,
        "listening": machine.listening,
        "user": machine.user,
        "groups": machine.groups,
        "capabilities": machine.capabilities,
    }
    return Staged(root, facts, variables)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


class Libraries:
    """Small shared libraries, each built once by gcc; machines may be staged in several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built: dict[tuple[str, str], Path] = {}
        self.lock = threading.Lock()
        folder.mkdir(exist_ok=True)

    def put(self, target: Path, source: str = SOUND, needs: str = "") -> None:
        """needs: the name of a library that the target wants from the folder lib/ beside it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.lock:
            shutil.copy(self._build(source, needs), target)

    def _build(self, source: str, needs: str) -> Path:
        if (source, needs) not in self.built:
            options = []
            if needs:
                wanted = self.folder / f"lib{needs}.so"
                shutil.copy(self._build(SOUND, ""), wanted)
                options = ["-Wl,--no-as-needed", f"-L{self.folder}", f"-l{needs}", "-Wl,-rpath,$ORIGIN/lib"]
            code, library = (self.folder / f"{len(self.built)}.{end}" for end in ("c", "so"))
            code.write_text(source)
            subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, code, *options], check=True)
            self.built[source, needs] = library
        return self.built[source, needs]


def _driver(machine: Atlas, root: Path, libraries: Libraries) -> list[str]:
    """The host's driver, mounted or not. Returns what it adds to LD_LIBRARY_PATH."""
    folder = root / f"{ASCEND}/driver".lstrip("/")
    if machine.driver:
        fields = ("Version", "package_version")
        write(folder / "version.info", "".join(f"{name}={machine.driver}\n" for name in fields))
        write(root / "etc/ascend_install.info", f"UserName=HwHiAiUser\nDriver_Install_Path_Param={ASCEND}\n")
        (folder / "topo").mkdir()
    if machine.driver and machine.driver_libraries:
        libraries.put(folder / "lib64/driver/libascend_hal.so")
    sourced = "driver" in machine.sourced
    return [f"{ASCEND}/driver/lib64/driver", f"{ASCEND}/driver/lib64/common"] if sourced else []


def _cann(machine: Atlas, root: Path, libraries: Libraries, variables: dict[str, str]) -> list[str]:
    for version in machine.beside:
        _toolkit(machine, root, libraries, version, latest=False)
    if machine.cann_version is None:
        return []
    home = _toolkit(machine, root, libraries, machine.cann_version, latest=True)
    if "cann" not in machine.sourced:
        return []
    variables |= {"ASCEND_TOOLKIT_HOME": home, "ASCEND_HOME_PATH": home, "ASCEND_OPP_PATH": f"{home}/opp"}
    # CANN's set_env.sh adds the driver as well.
    return [f"{home}/lib64", f"{ASCEND}/driver/lib64/driver"]


def _toolkit(machine: Atlas, root: Path, libraries: Libraries, version: str, *, latest: bool) -> str:
    """One CANN as its installer lays it: cann-<version> since 8.5, ascend-toolkit/<version> before. Returns home."""
    prefix = root / machine.prefix.lstrip("/")
    since_8_5 = tuple(int(part) for part in version.split(".")[:2]) >= (8, 5)
    name = f"cann-{version}" if since_8_5 else f"ascend-toolkit/{version}"
    base = prefix / name
    for library in CANN_LIBRARIES:
        libraries.put(base / ("devlib" if library in machine.off_path else "lib64") / library)
    info = f"version={version}\narch={platform.machine()}\nos=linux\npath={machine.prefix}/{name}\n"
    write(base / ARCH / "ascend_toolkit_install.info", f"package_name=Ascend-cann-toolkit\n{info}")
    write(base / "runtime/version.info", f"Version={version}\n")
    for soc in (CHIPS[machine.chip][1],) if machine.kernels is None else machine.kernels:
        write(base / f"opp/built-in/op_impl/ai_core/tbe/kernel/{soc}/add/Add.json", "{}")
        if since_8_5:
            package = f"package_name=Ascend-cann-{soc.removeprefix('ascend')}-ops\n"
            write(base / ARCH / "ascend_ops_install.info", package + info)
        else:
            write(base / "opp_kernel/version.info", f"Version={version}\nversion_dir={version}\n")
    (base / "opp").mkdir(exist_ok=True)
    script = _set_env(f"{machine.prefix}/{name}")
    if not since_8_5:
        if latest:
            (prefix / "ascend-toolkit/latest").symlink_to(version)
            write(prefix / "ascend-toolkit/set_env.sh", script)
        return f"{machine.prefix}/ascend-toolkit/latest"
    write(base / "set_env.sh", script)
    if latest:
        (prefix / "cann").symlink_to(f"cann-{version}")
        write(prefix / "ascend-toolkit/set_env.sh", script)
        (prefix / "ascend-toolkit/latest").symlink_to("../cann")
    return f"{machine.prefix}/{name}"


def _set_env(home: str) -> str:
    return "".join(
        f"export {line}\n"
        for line in (
            f"LD_LIBRARY_PATH={home}/lib64:{ASCEND}/driver/lib64/driver:$LD_LIBRARY_PATH",
            f"ASCEND_TOOLKIT_HOME={home} ASCEND_HOME_PATH={home} ASCEND_OPP_PATH={home}/opp",
        )
    )


def _nnal(machine: Atlas, root: Path, libraries: Libraries, variables: dict[str, str]) -> list[str]:
    if machine.nnal_version is None:
        return []
    folder = root / machine.prefix.lstrip("/") / "nnal/atb"
    home = f"{machine.prefix}/nnal/atb/latest/atb/cxx_abi_1"
    libraries.put(folder / "latest/atb/cxx_abi_1/lib/libatb.so")
    version = machine.nnal_version
    write(
        folder / "latest/version.info",
        f"    Ascend-cann-atb : {version}\n    Ascend-cann-atb Version : {version}\n",
    )
    write(folder / "set_env.sh", f"export ATB_HOME_PATH={home} LD_LIBRARY_PATH={home}/lib:$LD_LIBRARY_PATH\n")
    if "nnal" not in machine.sourced:
        return []
    variables["ATB_HOME_PATH"] = home
    return [f"{home}/lib"]


def _packages(machine: Atlas, site: Path, libraries: Libraries, extension: str) -> None:
    installed = machine.installed()
    points = {
        "vllm-ascend": "[vllm.general_plugins]\nascend_model = vllm_ascend:register_model\n"
        + ("[vllm.platform_plugins]\nascend = vllm_ascend:register\n" if machine.entry_points else ""),
        "torch-npu": "[torch.backends]\ntorch_npu = torch_npu:_autoloaded\n",
    }
    for name, version in installed.items():
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        requires = "".join(f"Requires-Dist: {line}\n" for line in machine.requirements(name))
        write(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        write(info / "RECORD", "")
        if name in points:
            write(info / "entry_points.txt", points[name])
    for folder in ("torch", "torch_npu", "vllm", "vllm_ascend", "torchvision"):
        if folder.replace("_", "-") in installed:
            shutil.copytree(HERE / "stubs" / folder, site / folder, dirs_exist_ok=True)
    write(site / "_fake_atlas.py", (HERE / "stubs/_fake_atlas.py").read_text())
    for name in ("transformers", "torchaudio"):
        if name in installed:
            write(site / name / "__init__.py", f'__version__ = "{installed[name]}"\n')
    if "numpy" in installed:
        write(site / "numpy/__init__.py", _NUMPY.format(installed["numpy"]))
    for name, module in TBE.items():
        if name in installed:
            write(site / module / "__init__.py", "")
    if "torch-npu" in installed:
        _torch_npu(machine, site / "torch_npu/lib", libraries)
    if "vllm-ascend" in installed:
        _vllm_ascend(machine, site / "vllm_ascend", libraries, extension)
    _triton(machine, site, libraries, {"triton", "triton-ascend"} & installed.keys())
    for module, error in machine.raising.items():
        write(site / module / "__init__.py", f"raise {error}\n")


# weightsmith needs the real one; only its version is the fake machine's.
_NUMPY = """
import sys
_here = sys.path.index(next(p for p in sys.path if __file__.startswith(p + "/numpy")))
_place = sys.path.pop(_here)
_own = sys.modules.pop("numpy")
try:
    import numpy
except ImportError:
    numpy = sys.modules["numpy"] = _own
finally:
    sys.path.insert(_here, _place)
numpy.__version__ = "{0}"
"""


def _torch_npu(machine: Atlas, folder: Path, libraries: Libraries) -> None:
    of_nnal = machine.undefined.startswith("_ZN3atb")
    wanting = f"extern int {machine.undefined}; int *stub(void){{return &{machine.undefined};}}"
    libraries.put(folder / "libop_plugin_atb.so", wanting if of_nnal else SOUND)
    if machine.torch_npu_library != "absent":
        libraries.put(folder / "libtorch_npu.so", wanting if machine.undefined and not of_nnal else SOUND)
    if machine.torch_npu_library == "cut short":
        os.truncate(folder / "libtorch_npu.so", 40)


def _vllm_ascend(machine: Atlas, folder: Path, libraries: Libraries, extension: str) -> None:
    build = CHIPS[machine.chip][0] if machine.build == "its own" else machine.build
    if build is not None:
        write(folder / "_build_info.py", f"# Auto-generated file\n__device_type__ = '{build}'\n")
    extra = ""
    if machine.compiled == "undefined symbol":
        symbol = "_ZN3c106detail14torchCheckFailEPKcS2_jRKSs"
        extra = f"extern int {symbol}; int *stub(void){{return &{symbol};}}"
    libraries.put(folder / f"vllm_ascend_C{extension}", EXTENSION + extra, needs="vllm_ascend_kernels")
    if machine.compiled != "needs a library":
        libraries.put(folder / "lib/libvllm_ascend_kernels.so")


def _triton(machine: Atlas, site: Path, libraries: Libraries, installed: set[str]) -> None:
    """triton and triton-ascend write into one folder: the later one overwrites, and uninstalling either guts it."""
    if not installed:
        return
    if machine.triton == "gutted":
        (site / "triton/backends").mkdir(parents=True)
        return
    shutil.copytree(HERE / "stubs/triton", site / "triton", dirs_exist_ok=True)
    if machine.triton == "overwritten":
        error = "No module named 'triton._C.libtriton.ascend'; 'triton._C.libtriton' is not a package"
        write(site / "triton/backends/ascend/__init__.py", f'raise ModuleNotFoundError("{error}")\n')
        libraries.put(site / "triton/_C/libtriton.so")


def _interpreter(root: Path, prefix: str, site: str) -> None:
    """Another interpreter, in which the packages lie: the same Python, with another site-packages."""
    python = f'#!/bin/sh\nPYTHONPATH={site} exec {Path(sys.executable).resolve()} "$@"\n'
    for name in ("python", "python3"):
        write(root / prefix.lstrip("/") / "bin" / name, python, 0o755)
    script = f"#!{prefix}/bin/python3\nfrom vllm.entrypoints.cli.main import main\n"
    write(root / prefix.lstrip("/") / "bin/vllm", script, 0o755)


def _accounts(machine: Atlas, root: Path) -> None:
    lines = ["root:x:0:0:root:/root:/bin/bash", "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"]
    if machine.user and machine.passwd:
        group = machine.groups[0] if machine.groups else machine.user
        lines.append(f"user{machine.user}:x:{machine.user}:{group}::{machine.home}:/bin/bash")
    write(root / "etc/passwd", "\n".join(lines) + "\n")
    write(root / "etc/group", "root:x:0:\nnogroup:x:65534:\n")
    if machine.home != "/root":
        (root / machine.home.lstrip("/")).mkdir(parents=True, exist_ok=True)


def _npu_smi(machine: Atlas, root: Path) -> None:
    """npu-smi, and what it and the stand-ins know of this machine."""
    _, kernels, memory = CHIPS[machine.chip]
    installed = machine.installed()
    early = tuple(int(part) for part in (machine.cann_version or "9.1").split(".")[:2]) < (9, 0)
    truth = {
        "chip": machine.chip,
        "chips": len(machine.numbers),
        "control": machine.nodes,
        "driver": machine.driver,
        "hanging": machine.hanging,
        "hbm": [memory] * len(machine.numbers),
        "hbm_used": [machine.used.get(n, 3400) for n in range(len(machine.numbers))],
        "health": [machine.health.get(n, "OK") for n in range(len(machine.numbers))],
        "held": machine.held,
        "kernels": kernels,
        "numpy": installed.get("numpy", "1.26.4"),
        "numpy_below_2": early,
        "tbe": list(TBE.values()),
        "torch": installed.get("torch", ""),
        "torch_npu": installed.get("torch-npu", ""),
    }
    write(root / "usr/local/share/fake-atlas.json", json.dumps(truth))
    if machine.driver:
        script = (HERE / "stubs/npu_smi.py").read_text()
        write(root / "usr/local/sbin/npu-smi", f"#!{Path(sys.executable).resolve()} -ISE\n{script}", 0o755)
