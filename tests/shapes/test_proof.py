"""`--check` and `--learn`: transformers itself, in a child process, is the judge and the teacher."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.checkpoint.headers import write_headers_only
from tests.shapes.custom_code import write_pebble
from tests.shapes.reference import reference_shapes
from tests.shapes.test_crosscheck import CONFIG, SIZES
from weightsmith.checkpoint import open_checkpoint
from weightsmith.cli import commands
from weightsmith.errors import EngineFailed
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page import page as page_room
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.reference.proof import BuildDifference, check

# `make test` puts it there; not among the packages of the environment (see the Makefile).
TIMM = Path(sys.prefix) / "timm"
PERCEPTION = {
    "depth": 3,
    "embed_dim": 64,
    "global_pool": "",
    "img_size": [28, 42],
    "init_values": 0.1,
    "use_post_transformer_norm": False,
}
TOWERS: dict[str, dict[str, Any]] = {
    "fast_vlm": {
        "vision_config": {
            "architecture": "fastvit_mci3",
            "hidden_size": 3072,
            "model_args": {"inference_mode": True},
        },
        "text_config": {"model_type": "qwen2", "num_hidden_layers": 2},
    },
    "gemma3n": {"text_config": {"num_hidden_layers": 20, "num_kv_shared_layers": 5}},
    "perception_lm": {
        "vision_config": {"architecture": "vit_pe_core_large_patch14_336", "model_args": PERCEPTION},
        "text_config": {"model_type": "llama", "num_hidden_layers": 2},
    },
}


@pytest.mark.usefixtures("asked_here")
def test_the_true_config_has_no_differences_and_a_wrong_one_names_them(tmp_path: Path) -> None:
    write_headers_only(tmp_path, reference_shapes("llama", SIZES))
    checkpoint = open_checkpoint(tmp_path)
    proof = check(CONFIG, checkpoint)
    assert proof.holds and proof.tensors == len(checkpoint.tensors)
    assert proof.architecture == "LlamaForCausalLM" and proof.reference.startswith("transformers ")
    wrong = check({**CONFIG, "num_hidden_layers": 1, "vocab_size": 301}, checkpoint).differences
    assert BuildDifference("lm_head.weight", (300, 64), (301, 64)) in wrong
    assert BuildDifference("model.layers.1.mlp.up_proj.weight", (96, 64), None) in wrong
    assert "is stored, the config builds [301, 64]" in str(wrong[0])
    assert len(wrong) == 2 + 9


@pytest.mark.usefixtures("asked_here")
def test_draft_layers_and_old_buffers_are_no_difference(tmp_path: Path) -> None:
    shapes = dict(reference_shapes("llama", SIZES))
    draft = {"mtp.0.eh_proj.weight": (64, 128), "model.layers.0.self_attn.rotary_emb.inv_freq": (8,)}
    write_headers_only(tmp_path, {**shapes, **draft})
    found = check(CONFIG, open_checkpoint(tmp_path)).differences
    assert not found


@pytest.mark.usefixtures("asked_here")
def test_a_config_that_transformers_does_not_know_is_refused_in_one_line(tmp_path: Path) -> None:
    write_headers_only(tmp_path, {"a.weight": (2, 2)})
    with pytest.raises(EngineFailed, match="no config class for nonsense"):
        check({"model_type": "nonsense"}, open_checkpoint(tmp_path))


def test_the_child_never_runs_files_that_lie_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_headers_only(tmp_path, reference_shapes("llama", SIZES))
    (tmp_path / "torch.py").write_text("raise SystemExit('this file was run')")
    monkeypatch.chdir(tmp_path)
    assert check(CONFIG, open_checkpoint(tmp_path)).holds


@pytest.mark.skipif(not TIMM.is_dir(), reason="`make test` installs timm beside the environment")
@pytest.mark.parametrize("model_type", ["fast_vlm", "gemma3n", "perception_lm"])
def test_towers_that_timm_builds_are_proven_beside_a_torchvision_that_does_not_load(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"model_type": model_type, **TOWERS[model_type]}
    page = load_page(model_type)
    stated = Stated(config, page).completed()
    write_headers_only(tmp_path, predict(next(iter(page.layouts.values())), stated))
    monkeypatch.setenv("PYTHONPATH", str(TIMM))
    assert check(config, open_checkpoint(tmp_path)).differences == ()


def test_a_tower_of_timm_without_timm_is_refused_by_name(tmp_path: Path) -> None:
    write_headers_only(tmp_path, {"a.weight": (2, 2)})
    with pytest.raises(EngineFailed, match="requires the timm library"):
        check({"model_type": "perception_lm", **TOWERS["perception_lm"]}, open_checkpoint(tmp_path))


def test_a_corrected_config_is_proven_and_written(tmp_path: Path) -> None:
    write_headers_only(tmp_path, reference_shapes("llama", SIZES))
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "intermediate_size": 97}))
    done = CliRunner().invoke(
        commands, ["infer-config", str(tmp_path), "--check", "--write", "--json"], standalone_mode=False
    )
    document = json.loads(done.stdout)
    assert (done.return_value, document["verdict"], document["proof"]["verdict"]) == (0, "differs", "holds")
    assert document["proof"]["differences"] == []
    assert json.loads((tmp_path / "config.json").read_text())["intermediate_size"] == 96


@pytest.mark.usefixtures("asked_here")
def test_a_config_that_the_reference_refutes_is_not_written(tmp_path: Path) -> None:
    shapes = dict(reference_shapes("llama", SIZES))
    shapes.pop("model.layers.0.mlp.up_proj.weight")  # a damaged checkpoint: no config explains it
    write_headers_only(tmp_path, shapes)
    before = json.dumps({**CONFIG, "intermediate_size": 97})
    (tmp_path / "config.json").write_text(before)
    done = CliRunner().invoke(
        commands, ["infer-config", str(tmp_path), "--check", "--write"], standalone_mode=False
    )
    assert (
        done.return_value == 1 and "1 tensors differ" in done.stdout and "nothing was written" in done.stderr
    )
    assert (tmp_path / "config.json").read_text() == before


@pytest.mark.usefixtures("asked_here")
def test_code_that_travels_with_a_checkpoint_is_not_run_unasked(tmp_path: Path) -> None:
    mark = write_pebble(tmp_path, mlp_size=81)
    with pytest.raises(EngineFailed, match="--trust-remote-code would run it"):
        CliRunner().invoke(
            commands,
            ["infer-config", str(tmp_path), "--learn"],
            standalone_mode=False,
            catch_exceptions=False,
        )
    assert not mark.exists()


def test_code_that_travels_with_a_checkpoint_is_run_when_trusted(tmp_path: Path) -> None:
    mark = write_pebble(tmp_path, mlp_size=81)
    trusted = ["infer-config", str(tmp_path), "--learn", "--check", "--trust-remote-code", "--json"]
    done = CliRunner().invoke(commands, trusted, standalone_mode=False, catch_exceptions=False)
    assert mark.exists()
    document = json.loads(done.stdout)
    assert (done.return_value, document["verdict"]) == (1, "differs")
    assert document["config"]["mlp_size"] == 80
    assert document["learned"]["unexpressed"] == {} and document["proof"]["verdict"] == "holds"


@pytest.mark.usefixtures("asked_here")
def test_a_type_that_the_catalog_lacks_is_learned_at_run_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_headers_only(tmp_path, reference_shapes("arcee", {**SIZES, "hidden_act": "relu2"}))
    without = tuple(t for t in page_room.catalog_types() if t != "arcee")
    monkeypatch.setattr("weightsmith.shapes.learn.catalog_types", lambda: without)
    command = ["infer-config", str(tmp_path), "--model-type", "arcee", "--learn", "--json"]
    done = CliRunner().invoke(commands, command, standalone_mode=False, catch_exceptions=False)
    document = json.loads(done.stdout)
    assert (done.return_value, document["verdict"]) == (1, "guessed")
    assert document["learned"]["source"].startswith("transformers ")
    assert document["config"]["intermediate_size"] == SIZES["intermediate_size"]


def test_trust_without_a_reason_is_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(commands, ["infer-config", str(tmp_path), "--trust-remote-code"])
    assert done.exit_code == 2 and "is for --learn and --check" in done.output


def test_neither_check_nor_its_child_imports_the_learner(tmp_path: Path) -> None:
    write_headers_only(tmp_path, reference_shapes("llama", SIZES))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    code = (
        "import json, sys\nfrom click.testing import CliRunner\nfrom weightsmith.cli import commands\n"
        "done = CliRunner().invoke(commands, ['infer-config', sys.argv[1], '--check', '--json'])\n"
        "assert json.loads(done.stdout)['proof']['verdict'] == 'holds', done.output\n"
        "from weightsmith.shapes.reference.worker import answer\n"
        "assert answer({'config': json.loads(sys.argv[2]), 'code': None})['shapes']\n"
        "print([name for name in sys.modules if name.startswith('weightsmith.shapes.learn')])"
    )
    command = [sys.executable, "-c", code, str(tmp_path), json.dumps(CONFIG)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
