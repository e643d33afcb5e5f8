"""The public library is what docs/library.md says, and what it says runs."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import weightsmith
from weightsmith import errors, library

ROOT = Path(__file__).parent.parent
LATENT = ROOT / "tests" / "models" / "ternary-llama"
HRM_TEXT = ROOT / "tests" / "models" / "hrm-text"
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
FUNCTIONS = ["check", "convert", "diff", "doctor", "fits", "infer", "inspect", "open", "report", "verify"]
# (the word behind "python", the code) of each block, in the order of the page.
BLOCKS: list[tuple[str, str]] = re.findall(r"^```python *(\w*)\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's examples run: the trained ternary model is `model`."""
    shutil.copytree(LATENT, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)


def test_the_page_names_what_is_promised_and_nothing_else() -> None:
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)
    named = set(re.findall(r"`weightsmith\.(\w+)", prose)) - {"errors"}
    assert named == set(weightsmith.__all__)
    assert set(re.findall(r"^## (\w+)$", PAGE, re.M)) == {*FUNCTIONS, "Errors", "Progress"}
    used = set(re.findall(r"weightsmith\.(\w+)\(", PAGE))
    assert used == set(FUNCTIONS)


def test_every_promised_name_is_there_and_listed() -> None:
    assert dir(weightsmith) == sorted(weightsmith.__all__)
    assert all(hasattr(weightsmith, name) for name in weightsmith.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = weightsmith.nonsense  # type: ignore[attr-defined]


def test_the_examples_run(folder: Path) -> None:
    done = run("\n".join(code for kind, code in BLOCKS if not kind), folder)
    assert done.returncode == 0, done.stderr
    assert "safetensors" not in done.stdout and "torch-zip" in done.stdout
    assert "latent" in done.stdout and "differs llama" in done.stdout
    assert (folder / "converted" / "model.safetensors").is_file()


@pytest.mark.engine
def test_the_examples_that_load_vllm_run(tmp_path: Path) -> None:
    shutil.copytree(HRM_TEXT, tmp_path / "converted")
    verify, report, doctor = (code for kind, code in BLOCKS if kind == "vllm")
    done = run(f"import weightsmith\n{verify}{report}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "pass"
    assert (tmp_path / "report.md").is_file() and (tmp_path / "report.html").is_file()
    done = run(f"import weightsmith\n{doctor}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] in ("True", "False")


def test_a_strict_type_checker_accepts_the_examples(tmp_path: Path) -> None:
    """The examples that load vLLM are checked here even where there is none."""
    script = tmp_path / "examples.py"
    script.write_text("\n".join(code for _, code in BLOCKS), encoding="utf-8")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import weightsmith\nweightsmith.infer('model', cheque=True)\n", encoding="utf-8")
    # As in pyproject.toml: to follow these takes minutes, and says nothing about us.
    heavy = "torch.*,transformers.*,vllm.*,torch_npu.*,vllm_ascend.*,accelerate.*,tabulate.*,rich.*,ml_dtypes.*,yaml.*"
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\nfollow_imports = silent\n"
        f"[mypy-{heavy}]\nignore_missing_imports = True\nfollow_imports = skip\n"
    )
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache" / "examples")]
    done = subprocess.run(
        [*command, str(script), str(wrong)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
    )
    found = [line for line in done.stdout.splitlines() if " error: " in line]
    assert found == ['wrong.py:2: error: Unexpected keyword argument "cheque" for "infer"  [call-arg]']
    assert done.stdout.endswith("(checked 2 source files)\n"), done.stdout + done.stderr


def test_types_are_part_of_the_package() -> None:
    assert (Path(weightsmith.__file__).parent / "py.typed").is_file()


def test_importing_weightsmith_imports_nothing_of_it_and_nothing_heavy(tmp_path: Path) -> None:
    before = "import sys; before = set(sys.modules)\n"
    done = run(f"{before}import weightsmith\nprint(*(set(sys.modules) - before))", tmp_path)
    assert set(done.stdout.split()) <= {"weightsmith", "weightsmith.version", "types", "__future__"}


def test_opening_a_checkpoint_imports_neither_numpy_nor_torch(folder: Path) -> None:
    done = run("import sys, weightsmith\nweightsmith.open('model')\nprint(*sys.modules)", folder)
    assert not {"numpy", "torch", "transformers"} & set(done.stdout.split())


@pytest.mark.parametrize("name", ["check", "convert", "report", "verify"])
def test_a_room_of_the_same_name_does_not_hide_the_function(name: str, tmp_path: Path) -> None:
    """Python sets a subpackage as an attribute of its package once it is imported: before or after the first use."""
    room = f"from weightsmith.{name} import __all__"
    use = f"assert weightsmith.{name}.__module__ == 'weightsmith.library'"
    for order in ([room, use], [use, room, use]):
        done = run("\n".join(["import weightsmith", *order]), tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keywords_and_results_are_frozen(name: str) -> None:
    function = getattr(weightsmith, name)
    assert function is getattr(library, name)
    parameters = inspect.signature(function).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters if p.default is not p.empty)
    result = getattr(weightsmith, str(inspect.signature(function).return_annotation))
    assert dataclasses.is_dataclass(result)
    assert result.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_a_path_a_text_and_an_opened_checkpoint_are_the_same_to_it(folder: Path) -> None:
    opened = weightsmith.open("model")
    by_text, by_path, by_table = (weightsmith.infer(m) for m in ("model", Path("model"), opened))
    assert by_text == by_path == by_table
    assert weightsmith.inspect(opened).document() == weightsmith.inspect("model").document()
    assert weightsmith.diff(opened, "model").verdict == "identical"


def test_a_config_is_written_where_it_was_asked_for(folder: Path) -> None:
    before = (folder / "model/config.json").read_text()
    found = weightsmith.infer("model", output=folder / "here.json")
    assert (found.verdict, found.written) == ("differs", f"{folder / 'here.json'}: written")
    assert (folder / "model/config.json").read_text() == before
    found = weightsmith.infer("model", write=True)
    assert found.written == "model/config.json: written; the old one is config.json.bak"
    truth = json.loads((LATENT.parent / "ternary-llama.true-config.json").read_text())
    written = json.loads((folder / "model/config.json").read_text())
    assert {name: written[name] for name in truth if name in written} == truth
    with pytest.raises(errors.Usage, match="exclude each other"):
        weightsmith.infer("model", write=True, output="x")


def test_hashes_tell_whether_a_file_was_changed(folder: Path) -> None:
    weightsmith.convert("model", "out", converter="plain")
    assert weightsmith.inspect("out", hashes=True).as_written
    (folder / "out/notes.txt").write_text("mine")
    assert weightsmith.inspect(weightsmith.open("out"), hashes=True).as_written
    (folder / "out/config.json").write_text("{}")
    found = weightsmith.inspect("out", hashes=True)
    assert not found.as_written and ("config.json", "other size") in (found.hashes or ())
    with pytest.raises(weightsmith.WeightsmithError):
        weightsmith.inspect("model", hashes=True)


def test_an_error_is_a_document(folder: Path) -> None:
    with pytest.raises(errors.MissingInput) as raised:
        weightsmith.open("absent")
    assert raised.value.document()["error"]["kind"] == "missing-input"
    kinds = {kind.__name__: kind("a", "b", "c").kind for kind in errors.WeightsmithError.__subclasses__()}
    assert kinds["UnknownFamily"] == "unknown-family" and kinds["Usage"] == "usage"
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind) for kind in kinds.values())
