"""Each architecture of llama.cpp that is known here, judged by gguf's own names and writer and by transformers' reader.

One child does all of it: `gguf_judge`, which needs the package gguf beside the environment (`make test` puts it there).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weightsmith.checkpoint.gguf_architectures import ARCHITECTURES

ROOT = Path(__file__).parents[2]
GGUF = ROOT / ".venv" / "gguf"
KINDS = ("F16", "Q8_0")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """Every line that was the same, and what was said where something was not."""
    if not (GGUF / "gguf").is_dir():
        pytest.skip("the package gguf is not beside the environment")
    environment = {**os.environ, "PYTHONPATH": f"{GGUF}{os.pathsep}{ROOT}", "HF_HUB_OFFLINE": "1"}
    command = [
        sys.executable,
        "-m",
        "tests.converters.gguf_judge",
        str(tmp_path_factory.mktemp("gguf")),
        *KINDS,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.splitlines(), done.stderr[-2000:]


@pytest.mark.xdist_group("gguf")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_names_weights_and_settings_are_those_that_transformers_reads(
    judged: tuple[list[str], str], family: str, kind: str
) -> None:
    lines, said = judged
    assert any(line.startswith(f"{family} {kind}: ") and line.endswith("are the same") for line in lines), (
        said
    )
