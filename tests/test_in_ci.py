"""What other repositories run of ours: the pre-commit hook and the GitHub action, as their readers run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "tests" / "models"
SOUND, LIE = MODELS / "hrm-text", MODELS / "ternary-llama"
BIN = Path(sys.executable).parent
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
HOSTILE = "$(touch pwned) `touch pwned` \"; touch pwned; ' ${{ github.token }}"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def pre_commit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(folder / ".git" / "hooks-home"),
    }
    command = [sys.executable, "-m", "pre_commit", "run", "--color=never", "--verbose", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_the_hook_checks_the_checkpoints_whose_files_changed(tmp_path: Path) -> None:
    shutil.copytree(SOUND, tmp_path / "models" / "sound")
    shutil.copytree(LIE, tmp_path / "models" / "lie")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "config.json").write_text("{}")
    (tmp_path / "--output=x.safetensors").write_bytes((SOUND / "model.safetensors").read_bytes())
    hooks = [{**hook, "language": "system"} for hook in HOOKS]  # nothing is installed for it
    (tmp_path / ".pre-commit-config.yaml").write_text(
        yaml.safe_dump({"repos": [{"repo": "local", "hooks": hooks}]})
    )
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    done = pre_commit(tmp_path)
    assert done.returncode == 1 and "exit code: 1" in done.stdout
    assert "✗ models/lie/config.json:7: hidden_size is 160, the weights say 128" in done.stdout
    assert done.stdout.count("✓ models/sound: ") == 1, "once, however many of its files changed"
    assert "web" not in done.stdout, "a config of something else is none of a model"
    assert not (tmp_path / "x.safetensors").exists(), "no name is taken for an option"
    git(tmp_path, "commit", "-qm", "as it is")
    config = tmp_path / "models" / "sound" / "generation_config.json"
    config.write_text(config.read_text() + "\n")
    git(tmp_path, "add", ".")
    done = pre_commit(tmp_path)
    assert done.returncode == 0 and "verdict: sound" in done.stdout and "lie" not in done.stdout


def test_the_hook_leaves_other_files_alone() -> None:
    pattern = re.compile(HOOKS[0]["files"])
    weights = ("model-00001-of-00002.safetensors", "pytorch_model.bin", "m/consolidated.00.pth", "m/q4.gguf")
    for name in (*weights, "a/model.safetensors.index.json", "config.json", "a/tokenizer.json"):
        assert pattern.search(name), name
    for name in ("README.md", "package.json", "tsconfig.json", "firmware.bin", "src/main.py"):
        assert not pattern.search(name), name


def step(name: str, folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """A step of the action as the runner does it: expressions become values of its variables, bash runs its script."""
    (found,) = (one for one in ACTION["runs"]["steps"] if one["name"] == name)
    values = {key: entry.get("default", "") for key, entry in ACTION["inputs"].items()} | inputs
    context = {f"inputs.{key}": value for key, value in values.items()} | {"github.action_path": str(ROOT)}
    variables = {
        key: re.sub(r"\$\{\{ (\S+) \}\}", lambda match: context[match[1]], value)
        for key, value in found["env"].items()
    }
    environment = {**os.environ, "RUNNER_TEMP": str(folder / "runner"), **variables}
    script = folder / "script.sh"
    script.write_text(found["run"])
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )


def installed(folder: Path, program: str) -> None:
    """A program where the action installs weightsmith."""
    place = folder / "runner" / "weightsmith" / "bin" / "weightsmith"
    place.parent.mkdir(parents=True)
    place.write_text(program)
    place.chmod(0o755)


@pytest.fixture
def noting(tmp_path: Path) -> Path:
    """A workflow's folder with a weightsmith that only writes down its words, one a line."""
    installed(tmp_path, '#!/bin/bash\nprintf "%s\\n" "$@" > words\n')
    return tmp_path


def test_the_action_puts_no_value_into_a_script() -> None:
    assert ACTION["runs"]["using"] == "composite"
    for one in ACTION["runs"]["steps"]:
        assert "${{" not in one["run"] and one["shell"] == "bash"


def test_the_action_annotates_what_is_wrong_and_fails(tmp_path: Path) -> None:
    installed(tmp_path, f'#!/bin/bash\nexec "{BIN}/weightsmith" "$@"\n')
    done = step("Check", tmp_path, checkpoints=f"{SOUND}\n\n{LIE}\n")
    assert done.returncode == 1, done.stderr
    kinds = [line.split(" ")[0] for line in done.stdout.splitlines()]
    assert kinds == ["::notice", *["::error"] * 4, "::notice"]


def test_the_action_hands_every_input_on(noting: Path) -> None:
    inputs = {"values": "sample", "strict": "true", "format": "sarif", "output": "an out.sarif"}
    assert step("Check", noting, checkpoints="a model\n--b\n", **inputs).returncode == 0
    options = ["--format=sarif", "--values=sample", "--strict", "--output=an out.sarif"]
    assert (noting / "words").read_text().splitlines() == ["check", *options, "--", "a model", "--b"]


@pytest.mark.parametrize("name", ["checkpoints", "values", "strict", "format", "output"])
def test_the_action_runs_nothing_that_is_passed_to_it(name: str, noting: Path) -> None:
    step("Check", noting, **{"checkpoints": "model", name: HOSTILE})
    assert not (noting / "pwned").exists()
    words = (noting / "words").read_text().splitlines()
    expected = {"checkpoints": HOSTILE, "strict": None}.get(name, f"--{name}={HOSTILE}")
    assert expected is None or expected in words


def test_the_action_fails_without_checkpoints(tmp_path: Path) -> None:
    installed(tmp_path, f'#!/bin/bash\nexec "{BIN}/weightsmith" "$@"\n')
    assert step("Check", tmp_path, checkpoints="\n").returncode == 2


def test_the_action_installs_what_lies_beside_it(tmp_path: Path) -> None:
    """With a Python that only writes down its words."""
    python, pip = tmp_path / "a python", tmp_path / "pip"
    pip.write_text('#!/bin/bash\necho "$@" >> asked\n')
    python.write_text('#!/bin/bash\necho "$@" >> asked\nmkdir -p "$3/bin"\ncp pip "$3/bin/pip"\n')
    for program in (python, pip):
        program.chmod(0o755)
    done = step("Install weightsmith", tmp_path, python=str(python))
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert first == f"-m venv {tmp_path / 'runner' / 'weightsmith'}"
    assert second.startswith("install ") and second.endswith(f" {ROOT}")
