"""The command line keeps its contract: exit codes, one JSON document, one line per error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parent.parent / "models"
LATENT = MODELS / "ternary-llama"


def weightsmith(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weightsmith", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


def test_infer_config_prints_one_document_and_exits_one_for_a_lie() -> None:
    done = weightsmith("infer-config", LATENT, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert document["verdict"] == "differs"
    truth = json.loads((MODELS / "ternary-llama.true-config.json").read_text())
    assert {name: document["config"][name] for name in truth if name in document["config"]} == truth


def test_a_written_config_agrees_afterwards(tmp_path: Path) -> None:
    output = tmp_path / "config.json"
    assert weightsmith("infer-config", LATENT, "--output", output).returncode == 0
    assert weightsmith("infer-config", LATENT, "--config", output).returncode == 0
    original = (LATENT / "config.json").read_text().split("\n")
    changed = [
        line for line, was in zip(output.read_text().split("\n"), original, strict=True) if line != was
    ]
    assert len(changed) == 4, "only the four contradicted lines change"


@pytest.mark.parametrize("command", ["infer-config", "inspect", "diff", "convert", "verify-on-npu"])
def test_a_missing_path_is_one_clear_line_and_exit_two(command: str, tmp_path: Path) -> None:
    second = [tmp_path / "other"] if command in ("diff", "convert") else []
    done = weightsmith(command, tmp_path / "absent", *second)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "absent" in done.stderr and "; " in done.stderr, "the file, the fact and the way out"


def test_a_family_that_is_not_in_the_catalog_is_named_with_those_that_are() -> None:
    done = weightsmith("infer-config", LATENT, "--model-type", "qwen-3")
    assert done.returncode == 2
    assert "qwen-3: is not" in done.stderr and "nearest first: qwen3, " in done.stderr


def test_without_an_npu_verification_says_so_and_names_the_cpu() -> None:
    done = weightsmith("verify-on-npu", MODELS / "hrm-text")
    assert done.returncode == 2
    assert "--device cpu" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["infer-config"], ["infer-config", LATENT, "--write", "--output", "x"]]
)
def test_wrong_usage_exits_two(arguments: list[str | Path]) -> None:
    done = weightsmith(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m weightsmith inspect {LATENT} --json | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ('{\n  "comma', "")


def test_inspect_says_latent_and_convert_says_why(tmp_path: Path) -> None:
    document = json.loads(weightsmith("inspect", LATENT, "--values", "--json").stdout)
    assert document["fusion"] == {"state": "latent", "group_size": 128, "tensors_checked": 28}
    assert document["damage"] == []
    assert len(document["tensors"]) == document["checkpoint"]["tensors"] == 39
    done = weightsmith("convert", LATENT, tmp_path / "fused", "--json")
    assert done.returncode == 0
    assert "converter: ternary, because" in done.stderr
    assert json.loads(done.stdout)["converter"] == "ternary"
    fused = json.loads(weightsmith("inspect", tmp_path / "fused", "--values", "--json").stdout)
    assert fused["fusion"]["state"] == "fused"
    assert weightsmith("infer-config", tmp_path / "fused").returncode == 0
    again = weightsmith("convert", tmp_path / "fused", tmp_path / "twice", "--converter", "ternary")
    assert again.returncode == 2 and "fused" in again.stderr
    assert not (tmp_path / "twice").exists()


def test_a_sample_is_enough_for_a_verdict_and_says_that_it_is_one() -> None:
    full = json.loads(weightsmith("inspect", "--values", LATENT, "--json").stdout)
    sample = json.loads(weightsmith("inspect", LATENT, "--values=sample", "--json").stdout)
    assert sample == {**full, "sampled": True}
    assert "none found in the sampled rows" in weightsmith("inspect", LATENT, "--values=sample").stdout
    assert weightsmith("inspect", LATENT, "--values=half").returncode == 2


def test_diff_tells_equal_from_different(tmp_path: Path) -> None:
    assert weightsmith("convert", LATENT, tmp_path / "plain", "--converter", "plain").returncode == 0
    same = weightsmith("diff", LATENT, tmp_path / "plain", "--json")
    assert (same.returncode, json.loads(same.stdout)["verdict"]) == (0, "equal")
    other = weightsmith("diff", LATENT, MODELS / "hrm-text", "--json")
    assert (other.returncode, json.loads(other.stdout)["verdict"]) == (1, "differs")


def test_nothing_stands_beside_what_is_written_to_stdout(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    done = weightsmith("infer-config", LATENT, "--output", "-", "--report", report)
    assert isinstance(json.loads(done.stdout), dict)
    assert report.read_text(encoding="utf-8").startswith("# ")
