"""Installed into an environment that others made, it adds what is missing and exchanges nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "tests" / "models" / "ternary-llama"
# What an image for vllm-ascend 0.18 holds, which demands numpy < 2.
_THERE = {"numpy": "1.26.4"}


def _run(*words: str | Path, seconds: float = 300.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=seconds, check=False)


@pytest.mark.index
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="numpy 1.26 has no build for this Python")
def test_an_image_keeps_its_numpy(tmp_path: Path) -> None:
    wheel = _run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT
    )
    assert wheel.returncode == 0, wheel.stderr
    python = tmp_path / "image" / "bin" / "python"
    assert _run(sys.executable, "-m", "venv", tmp_path / "image").returncode == 0
    there = [f"{name}=={version}" for name, version in _THERE.items()]
    if _run(python, "-m", "pip", "install", "-q", *there).returncode:
        pytest.skip("no package index can be reached")
    installed = _run(python, "-m", "pip", "install", "-q", *tmp_path.glob("*.whl"))
    assert installed.returncode == 0, installed.stderr
    listed = json.loads(_run(python, "-m", "pip", "list", "--format", "json").stdout)
    versions = {package["name"]: package["version"] for package in listed}
    assert {name: versions[name] for name in _THERE} == _THERE
    program = python.with_name("weightsmith")
    assert _run(program, "inspect", "--values", MODEL).returncode == 1, "its card calls latent weights fused"
    assert _run(program, "convert", MODEL, tmp_path / "out").returncode == 0
