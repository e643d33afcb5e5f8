"""The house stands as its plan says: imports go down only, the core stays light, the wheel is whole."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [*sorted((ROOT / "weightsmith").rglob("*.py")), *sorted((ROOT / "converters").glob("*.py"))]
# Each room and the rooms that it may import from; the package itself and OPEN are open to all.
BELOW = {
    "process": set(),
    "checkpoint": {"process"},
    "schemes": {"process", "checkpoint"},
    "shapes": {"process", "checkpoint", "schemes"},
    "values": {"process", "checkpoint", "schemes"},
    "convert": {"process", "checkpoint", "schemes", "shapes", "values", "converters"},
    "converters": {"checkpoint", "schemes", "shapes", "values", "convert"},
    "verify": {"process", "checkpoint", "schemes", "shapes", "values"},
    "report": {"verify"},
    "machine": {"process"},
    "vllm_plugin": set(),
    "render": {"process", "checkpoint", "shapes", "values", "convert", "verify", "machine", "report"},
    "cli": {"process", "checkpoint", "shapes", "values", "convert", "verify", "machine", "render", "report"},
}
# Single files at the bottom, which import nothing of the house but one another.
OPEN = {"errors", "installed", "json_value", "records", "formats", "determinism", "visible_devices"}
HEAVY = {"torch", "transformers", "vllm", "torch_npu", "vllm_ascend"}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "converters" if parts[0] == "converters" else parts[1].removesuffix(".py")


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            if node.module == "weightsmith":
                names |= {f"weightsmith.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    here = room(path)
    if here not in BELOW and here not in OPEN:
        return
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("weightsmith.")}
    upwards = rooms - BELOW.get(here, set()) - {here, "__version__"} - OPEN
    assert not upwards, f"{path.relative_to(ROOT)} imports upwards: {sorted(upwards)}"


def imports_when_loaded(path: Path) -> set[str]:
    """What importing the file itself imports: functions import once they are called, types are never imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    nodes = [node for node in ast.walk(tree) if node not in inside]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_that_read_never_import_torch(path: Path) -> None:
    # What asks transformers or vLLM itself does so inside functions.
    if {"learn", "reference"} & set(path.parts) or room(path) in {"verify", "report"}:
        assert not {name.split(".")[0] for name in imports_when_loaded(path)} & HEAVY
    elif room(path) in {"checkpoint", "shapes", "values", "convert", "converters", "cli", "render", "errors"}:
        assert not {name.split(".")[0] for name in imports(path)} & HEAVY


def test_only_render_prints() -> None:
    allowed = {"render.py"}
    for path in SOURCES:
        if path.name in allowed or path.stem.endswith(("worker", "probe")):
            continue  # children speak to their parent, not to the user
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        printing = [n.lineno for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]
        assert not printing, f"{path.relative_to(ROOT)}:{printing} prints"


def test_installing_weightsmith_asks_for_nothing_that_an_ascend_image_pins() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    core = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M)
    assert core is not None
    names = set(re.findall(r'"([A-Za-z0-9_-]+)', core[1]))
    assert names == {"click", "tabulate", "safetensors", "numpy", "ml_dtypes", "tqdm", "blake3"}


def test_the_wheel_holds_converters_and_the_catalog(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy: setuptools would pack what an older build left in build/
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("weightsmith", "converters"):
        shutil.copytree(ROOT / name, source / name)
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "weightsmith/converters/ternary.py" in names
    pages = {path.name for path in (ROOT / "weightsmith" / "shapes" / "catalog").glob("*.json")}
    assert pages <= {Path(name).name for name in names if name.startswith("weightsmith/shapes/catalog/")}
    packages = {path.parent.relative_to(ROOT) for path in (ROOT / "weightsmith").rglob("*.py")}
    assert all(any(name.startswith(f"{package}/") for name in names) for package in packages)
