"""Sets up what the matrix runs in, under .matrix/, once: environments, stub libraries, vllm_ascend, signatures.

python environment.py            # all of it
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MATRIX = ROOT / ".matrix"
sys.path.insert(0, str(HERE))

from schemas_of_wheel import schemas  # noqa: E402
from stub_libraries import add_stubs, build  # noqa: E402


@dataclass(frozen=True)
class Environment:
    """One vLLM version. torch_npu: the version that the vllm-ascend of the same number pairs with (field-notes 8)."""

    vllm: str
    torch_npu: str

    @property
    def folder(self) -> Path:
        return MATRIX / f"vllm-{self.vllm}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def constraints(self) -> Path:
        return HERE / f"constraints-{self.vllm}.txt"

    @property
    def ascend(self) -> Path:
        return MATRIX / f"ascend-{self.vllm}"

    @property
    def schemas(self) -> Path:
        return self.ascend / "torch-npu-schemas.json"

    def variables(self, ascend: bool) -> dict[str, str]:
        """Environment variables that a process of this environment needs."""
        variables = dict(os.environ)
        for name in ("PYTHONPATH", "VLLM_PLUGINS", "WEIGHTSMITH_HRM_TEXT"):
            variables.pop(name, None)
        variables["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
        if self.vllm == "0.18.0":
            # It refuses to start without these two words in LD_PRELOAD; the first library is a hollow one.
            lib = self.folder / "lib"
            variables["LD_PRELOAD"] = f"{lib / 'libtcmalloc_stub.so'}:{lib / 'libiomp5.so'}"
        if ascend:
            variables["PYTHONPATH"] = os.pathsep.join([str(HERE / "standins"), str(self.ascend)])
            variables["WEIGHTSMITH_NPU_SCHEMAS"] = str(self.schemas)
            variables["TORCHDYNAMO_DISABLE"] = "1"
        return variables


ENVIRONMENTS = (Environment("0.23.0", "2.10.0.post4"), Environment("0.18.0", "2.9.0"))


def prepare(environment: Environment) -> None:
    """Makes the environment unless its stamp says that it stands. Raises CalledProcessError when a step fails."""
    stamp = environment.folder / ".ready"
    wanted = _fingerprint(environment)
    if not stamp.exists() or stamp.read_text() != wanted:
        _build(environment)
        stamp.write_text(wanted)
    ours = environment.folder / ".weightsmith"
    entry_points = (ROOT / "pyproject.toml").read_text()
    if not ours.exists() or ours.read_text() != entry_points:
        _run(*_pip(environment), "--no-build-isolation", "-e", ROOT)
        ours.write_text(entry_points)


def _build(environment: Environment) -> None:
    _say(
        f"setting up vLLM {environment.vllm} in {environment.folder.relative_to(ROOT)}: two to five minutes, once"
    )
    started = time.monotonic()
    _run(sys.executable, "-m", "venv", "--clear", environment.folder)
    _run(*_pip(environment), "--no-compile", "-r", environment.constraints)
    (site_packages,) = (environment.folder / "lib").glob("python3*/site-packages")
    add_stubs(site_packages)
    build(environment.folder / "lib" / "libtcmalloc_stub.so")
    _unpack_ascend(environment)
    _say(f"vLLM {environment.vllm} stands after {time.monotonic() - started:.0f} s")


def _pip(environment: Environment) -> list[object]:
    return [environment.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]


def _unpack_ascend(environment: Environment) -> None:
    """The real vllm_ascend, unpacked and not installed: its requirements contradict the CPU build's."""
    wheels = MATRIX / "wheels"
    pip = [environment.python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run(
        *pip,
        *("--only-binary", ":all:", "--dest", wheels),
        *(f"vllm-ascend=={environment.vllm}", f"torch-npu=={environment.torch_npu}"),
    )
    (ascend,) = wheels.glob(f"vllm_ascend-{environment.vllm}-*.whl")
    (torch_npu,) = wheels.glob(f"torch_npu-{environment.torch_npu}-*.whl")
    with zipfile.ZipFile(ascend) as archive:
        archive.extractall(environment.ascend)
    environment.schemas.write_text(json.dumps(schemas(torch_npu), indent=1))


def _fingerprint(environment: Environment) -> str:
    sources = (environment.constraints, HERE / "stub_libraries.py", HERE / "schemas_of_wheel.py")
    digest = hashlib.sha256(environment.torch_npu.encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    for one in ENVIRONMENTS:
        prepare(one)
