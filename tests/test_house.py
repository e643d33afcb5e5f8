"""The house stands as its plan says: imports go down only, the core stays light, the wheel is whole."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from weightsmith import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "verify": {"process", "checkpoint", "schemes", "shapes", "settle", "values"},
    "settle": {"checkpoint", "schemes", "shapes", "values"},
    "check": {"process", "checkpoint", "shapes", "values", "convert"},
    "report": {"process", "checkpoint", "values", "verify"},
    "machine": {"process"},
    "fits": {"process", "checkpoint", "schemes", "shapes", "machine"},
    "vllm_plugin": set(),
    "library": {
        "process",
        "checkpoint",
        "shapes",
        "settle",
        "values",
        "convert",
        "verify",
        "machine",
        "report",
        "fits",
        "check",
    },
    "cli": {
        "process",
        "checkpoint",
        "shapes",
        "settle",
        "values",
        "convert",
        "verify",
        "machine",
        "report",
        "fits",
        "check",
        "library",
    },
    "__main__": {"cli", "process"},
}
# Single files at the bottom, which import nothing of the house but one another.
OPEN = {
    "errors",
    "foreign_text",
    "installed",
    "json_value",
    "records",
    "formats",
    "value_finding",
    "behaviour_finding",
    "false_alarms",
    "guide",
    "phrases",
    "language",
    "catalogue",
    "documents",
    "json_schema",
    "determinism",
    "visible_devices",
    "version",
}
HEAVY = {"torch", "transformers", "vllm", "torch_npu", "vllm_ascend"}

# One process parses the files, once for all rules.
pytestmark = pytest.mark.xdist_group("house")

LONGEST_FUNCTION = 40  # lines, its signature and docstring included
# Functions that are longer. Whoever shortens one deletes its line; nobody adds one.
LONGER = {
    "converters/hrm_training.py: run_config",
    "weightsmith/library.py: convert",
    "weightsmith/library.py: verify",
    "weightsmith/vllm_plugin/configuration.py: HrmTextConfig.__init__",
    "weightsmith/vllm_plugin/model.py: GatedAttention.__init__",
}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "converters" if parts[0] == "converters" else parts[1].removesuffix(".py")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def _forget_the_trees() -> Iterator[None]:
    yield
    parsed.cache_clear()


def told(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            if node.module == "weightsmith":
                names |= {f"weightsmith.{alias.name}" for alias in node.names}
    return names


def test_imports_go_down_only() -> None:
    upwards = {}
    for path in SOURCES:
        here = room(path)
        if here in BELOW or here in OPEN:
            rooms = {name.split(".")[1] for name in imports(path) if name.startswith("weightsmith.")}
            upwards[told(path)] = rooms - BELOW.get(here, set()) - {here, "__version__"} - OPEN
    assert {path: found for path, found in upwards.items() if found} == {}


def imports_when_loaded(path: Path) -> set[str]:
    """What importing the file itself imports: functions import once they are called, types are never imported."""
    tree = parsed(path)
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


READERS = {"checkpoint", "shapes", "values", "convert", "converters", "cli", "library", "errors"}


def _heavy(path: Path) -> set[str]:
    """What a file may not import of HEAVY and does."""
    # What asks transformers or vLLM itself does so inside functions.
    if {"learn", "reference"} & set(path.parts) or room(path) in {"verify", "report"}:
        return {name.split(".")[0] for name in imports_when_loaded(path)} & HEAVY
    return {name.split(".")[0] for name in imports(path)} & HEAVY if room(path) in READERS else set()


def test_rooms_that_read_never_import_torch() -> None:
    assert {told(path): found for path in SOURCES if (found := _heavy(path))} == {}


def test_the_reference_knows_nothing_of_the_learner() -> None:
    """`infer-config --check` asks transformers; it need not import what learns pages from it."""
    for path in (ROOT / "weightsmith" / "shapes" / "reference").glob("*.py"):
        assert not [name for name in imports(path) if name.startswith("weightsmith.shapes.learn")], path


# What starts processes, handles signals, or puts files into place; `weightsmith.process` has a function for each.
PROCESS_MODULES = {"subprocess", "multiprocessing", "signal", "pty"}
OS_CALLS = re.compile(
    r"fork|forkpty|posix_spawnp?|spawn[lv]p?e?|exec[lv]p?e?|system|popen|kill|killpg"
    r"|rename|renames|replace|link|symlink|fsync|fdatasync|p?writev?|sendfile|truncate|ftruncate|posix_fallocate|mkfifo"
)
PATH_CALLS = {"write_text", "write_bytes", "touch", "rename", "hardlink_to", "symlink_to"}
OTHER_CALLS = re.compile(
    r"shutil\.(copy\w*|move)|tempfile\.(mkstemp|\w*TemporaryFile)|(\w+\.)?(save_file|tofile|ProcessPoolExecutor)"
)
WRITING_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT"}
# File -> what it may do nevertheless, and why.
EXCEPTIONS = {
    # Weights are written past the page cache, from several threads, each file synced once at its end.
    "weightsmith/convert/stream/ordered_file.py": {
        "os.open for writing",
        "os.posix_fallocate",
        "os.ftruncate",
        "os.fdatasync",
        "os.fsync",
    },
    "weightsmith/convert/stream/disk.py": {"os.pwrite"},
    # Children leave arrays in the folder that is theirs alone; the parent reads them and removes it.
    "weightsmith/verify/engine/logprobs.py": {"save_file"},
    "weightsmith/verify/engine/pooled_worker.py": {"save_file"},
    "weightsmith/verify/reference/worker.py": {"save_file"},
    "weightsmith/verify/reference/pooled_worker.py": {"save_file"},
    "weightsmith/verify/selftest/worker.py": {"save_file"},
    # The library writes to a path by itself: to one in a temporary folder, which process.durable then copies.
    "weightsmith/verify/measure/baseline.py": {"save_file"},
}


def ground_work(path: Path) -> set[str]:
    """What a file does that is the ground floor's: imports of PROCESS_MODULES, and calls that start or write."""
    tree = parsed(path)
    found = {name for name in imports(path) if name.split(".")[0] in PROCESS_MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "shutil"}:
            found |= {
                f"{node.module}.{alias.name}" for alias in node.names if _is_ground(node.module, alias.name)
            }
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            if OS_CALLS.fullmatch(node.attr):
                found.add(f"os.{node.attr}")  # also where it is only handed on, as to a thread
        elif isinstance(node, ast.Call):
            found |= _writes(node)
    return found


def _is_ground(module: str, name: str) -> bool:
    return bool(OS_CALLS.fullmatch(name) if module == "os" else OTHER_CALLS.fullmatch(f"shutil.{name}"))


def _writes(call: ast.Call) -> set[str]:
    name = _dotted(call.func)
    method = name.rpartition(".")[2]
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    if OTHER_CALLS.fullmatch(name):
        return {name.rpartition(".")[2] if "save_file" in name else name}
    if name == "os.open":
        names = {n.attr for value in values for n in ast.walk(value) if isinstance(n, ast.Attribute)}
        return {"os.open for writing"} if names & WRITING_FLAGS and "devnull" not in names else set()
    if isinstance(call.func, ast.Attribute) and method in PATH_CALLS:
        return {method}
    # str.replace takes two arguments, and dataclasses.replace is no method.
    if (
        method == "replace"
        and isinstance(call.func, ast.Attribute)
        and (len(values), len(call.keywords)) == (1, 0)
    ):
        return {"Path.replace"}
    modes = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    if method in {"open", "fdopen"} and any(re.fullmatch(r"[rbt]*[wax+][rbt+]*", mode) for mode in modes):
        return {"open for writing"}
    return set()


def test_only_the_ground_floor_starts_processes_handles_signals_and_writes_files() -> None:
    found = {told(path): ground_work(path) for path in SOURCES if room(path) != "process"}
    assert {path: work for path, work in found.items() if work} == EXCEPTIONS


@pytest.mark.parametrize(
    "line",
    [
        "import subprocess",
        "from multiprocessing import Pool",
        "from signal import SIGALRM",
        "os.replace(a, b)",
        "pool.submit(os.fsync, descriptor)",
        "from os import rename",
        "path.replace(target)",
        "path.rename(target)",
        "path.write_text('x')",
        "path.open('wb')",
        "path.open(mode='a', encoding='utf-8')",
        "open(path, 'r+')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "shutil.copyfile(a, b)",
        "save_file(arrays, path)",
        "tempfile.NamedTemporaryFile()",
    ],
)
def test_the_rule_sees_each_way_around_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.py").write_text(line)
    assert ground_work(tmp_path / "a.py")


@pytest.mark.parametrize(
    "line",
    [
        "text.replace('a', 'b')",
        "replace(plan, name='x')",
        "path.open()",
        "path.open('rb')",
        "os.open(path, os.O_RDONLY)",
        "os.open(os.devnull, os.O_WRONLY)",
    ],
)
def test_the_rule_lets_reading_alone(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.py").write_text(line)
    assert not ground_work(tmp_path / "a.py")


def _dotted(node: ast.expr) -> str:
    """`a.b.c` of names and attributes, empty of anything else: unparsing every call takes seconds."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_only_the_terminal_prints() -> None:
    printers = {"print", "click.echo", "sys.stdout.write", "sys.stderr.write"}
    for path in SOURCES:
        if path.name == "terminal.py" or path.stem.endswith(("worker", "probe")):
            continue  # children speak to their parent, not to the user
        if path.parts[-2:] == ("learn", "__main__.py"):
            continue  # a program of its own: `make catalog`
        calls = [n for n in ast.walk(parsed(path)) if isinstance(n, ast.Call)]
        printing = [n.lineno for n in calls if _dotted(n.func) in printers]
        assert not printing, f"{path.relative_to(ROOT)}:{printing} prints"


def test_installing_weightsmith_asks_for_nothing_that_an_ascend_image_pins() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    core = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M)
    assert core is not None
    names = set(re.findall(r'"([A-Za-z0-9_-]+)', core[1]))
    assert names == {"click", "tabulate", "safetensors", "numpy", "packaging", "ml_dtypes", "rich", "blake3"}


def test_the_extra_for_tasks_leaves_what_an_ascend_image_pins() -> None:
    """datasets 5 wants huggingface_hub 1.31, which transformers 4 does not work with, and pandas 3.1 wants numpy 2."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extra = re.search(r"^tasks = \[(.*?)\]", text, re.M)
    assert extra is not None
    assert set(re.findall(r'"(.*?)"', extra[1])) == {"lm-eval>=0.4.13,<0.5", "datasets<5", "pandas<3.1"}


def _functions(node: ast.AST, within: str = "") -> Iterator[tuple[str, int]]:
    """Name, with the classes and functions around it, and lines of every function."""
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield name, (child.end_lineno or child.lineno) - child.lineno + 1
        yield from _functions(child, name)


def test_no_function_is_longer_than_a_screen() -> None:
    longer = {
        f"{told(path)}: {name}"
        for path in SOURCES
        for name, lines in _functions(parsed(path))
        if lines > LONGEST_FUNCTION
    }
    assert longer - LONGER == set(), f"longer than {LONGEST_FUNCTION} lines"
    assert LONGER - longer == set(), "no longer too long: delete them from the list"


def test_every_module_says_in_one_line_what_it_is_for() -> None:
    """A sentence, and what more there is to say after an empty line."""
    for path in SOURCES:
        said = ast.get_docstring(parsed(path))
        assert said, f"{path.relative_to(ROOT)} has no docstring"
        first, *rest = said.splitlines()
        assert first.endswith((".", "?", "!")), f"{path.relative_to(ROOT)}: {first}"
        assert not rest or rest[0] == "", f"{path.relative_to(ROOT)}: {first} {rest[0]}"


def test_code_that_tests_hand_to_other_processes_imports_what_is_there() -> None:
    """Nothing else sees these names when a module moves: they stand in strings."""
    stated = re.compile(r"from (weightsmith[.\w]*) import (\w+)")
    found = 0
    for path in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if stated.search(source) else ():
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            for module, name in stated.findall(text):
                holder = importlib.import_module(module)
                inside = importlib.util.find_spec(f"{module}.{name}") if hasattr(holder, "__path__") else None
                assert hasattr(holder, name) or inside, (
                    f"{path.relative_to(ROOT)}:{node.lineno}: {module} {name}"
                )
                found += 1
    assert found > 10


def test_the_version_stands_in_one_place() -> None:
    files = [ROOT / "pyproject.toml", ROOT / "setup.py", *SOURCES]
    stated = re.compile(rf"""["']{re.escape(__version__)}["']""")
    places = [
        str(file.relative_to(ROOT)) for file in files if stated.search(file.read_text(encoding="utf-8"))
    ]
    assert len(places) == 1, places
