"""A guess on the command line: plain to see in 80 columns, exit 1, settled with --set, written only when accepted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.checkpoint.headers import write_headers_only
from tests.shapes.predicted import predicted
from weightsmith.cli import commands

LATENT = Path(__file__).parent.parent / "models" / "ternary-llama"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trained model whose config.json is lost."""
    shutil.copytree(LATENT, tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink()
    return tmp_path / "model"


def run(*arguments: str | Path) -> tuple[int, Result]:
    done = CliRunner().invoke(commands, list(map(str, arguments)), standalone_mode=False)
    return done.return_value if done.exception is None else 2, done


def test_the_guess_is_shown_with_its_candidates_and_what_settles_it(folder: Path) -> None:
    code, done = run("infer-config", folder)
    assert code == 1
    told = done.stdout.split("guessed, first what most published models have:\n")[1].split("problem:")[0]
    assert told.splitlines() == [
        "  num_attention_heads = 2, or 4, 8, 16, 32, 64",
        "  num_key_value_heads = 1, or 2, 4, 8, 16, 32",
        "  head_dim = 64, or 32, 16, 8, 4, 2",
        "settled by:",
        "  --set head_dim=64 (num_attention_heads, num_key_value_heads go with it)",
        "--values may tell: num_attention_heads, num_key_value_heads, head_dim",
    ]
    assert all(len(line) <= 80 for line in told.splitlines())
    assert "verdict: guessed: " in done.stdout
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("head_dim "))
    assert "? ambiguous, guessed" in row


def test_what_settles_it_settles_it(folder: Path) -> None:
    code, done = run("infer-config", folder, "--set", "head_dim=32", "--json")
    document = json.loads(done.stdout)
    assert (code, document["verdict"], document["guesses"]) == (0, "derived", [])
    assert document["config"]["num_attention_heads"] == 4
    code, done = run("infer-config", folder, "--set", "head_dim=32", "--write")
    assert code == 0 and (folder / "config.json").exists()
    assert run("infer-config", folder)[0] == 0


def test_nothing_is_written_unasked_and_the_reason_is_one_line(folder: Path) -> None:
    code, done = run("infer-config", folder, "--write")
    assert code == 1 and not (folder / "config.json").exists()
    assert done.stderr.startswith("nothing was written: nothing decides num_attention_heads, ")
    assert "--set head_dim=64" in done.stderr and "--accept-guesses" in done.stderr
    assert done.stderr.count("\n") == 1
    assert run("infer-config", folder, "--write", "--accept-guesses")[0] == 0
    assert json.loads((folder / "config.json").read_text())["head_dim"] == 64


def test_what_the_weights_rule_out_exits_one_and_what_nobody_knows_two(folder: Path) -> None:
    code, done = run("infer-config", folder, "--set", "head_dim=7", "--output", folder / "out.json")
    assert code == 1 and not (folder / "out.json").exists()
    assert "the weights rule out --set head_dim=7: head_dim can be 64, 32" in done.stderr
    assert run("infer-config", folder, "--set", "heddim=7")[0] == 2
    assert run("infer-config", folder, "--set", "head_dim")[0] == 2
    assert run("infer-config", folder, "--accept-guesses")[0] == 2


def test_convert_writes_no_guess_unasked(folder: Path, tmp_path: Path) -> None:
    code, done = run("convert", folder, tmp_path / "out", "--converter", "plain")
    assert code == 2 and not (tmp_path / "out").exists()
    assert "--write --set head_dim=64" in str(done.exception)
    code, done = run("convert", folder, tmp_path / "out", "--converter", "plain", "--accept-guesses")
    assert code == 0 and "note: guessed: num_attention_heads=2" in done.stderr
    manifest = json.loads((tmp_path / "out" / "weightsmith.json").read_text())
    assert manifest["config_guesses"] == {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["head_dim"] == 64


def test_convert_says_what_it_made_of_weights_that_force_all_of_it(tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 96,
        "vocab_size": 300,
        "head_dim": 16,
    }
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    shapes = predicted({"model_type": "qwen3", **sizes, **heads, "tie_word_embeddings": True})
    (tmp_path / "model").mkdir()
    write_headers_only(tmp_path / "model", shapes)
    assert run("infer-config", tmp_path / "model")[0] == 0
    code, done = run("convert", tmp_path / "model", tmp_path / "out", "--converter", "plain")
    assert (
        code == 0
        and "note: there is no config.json: one was made from the weights; no shape tells" in done.stderr
    )
    manifest = json.loads((tmp_path / "out" / "weightsmith.json").read_text())
    assert manifest["config_guesses"] == {}


@pytest.mark.parametrize("command", ["infer-config", "convert"])
def test_a_config_that_cannot_be_read_is_an_error(command: str, folder: Path, tmp_path: Path) -> None:
    config = folder / "config.json"
    target = [tmp_path / "out"] if command == "convert" else []
    config.write_text('{"hidden_size": ')
    assert run(command, folder, *target)[0] == 2
    config.unlink()
    config.symlink_to("nowhere")  # as a download cache leaves it that was pruned
    code, done = run(command, folder, *target)
    assert code == 2 and "target is gone" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_the_config_of_a_training_step_is_in_the_folder_above(folder: Path, tmp_path: Path) -> None:
    step = tmp_path / "run" / "global_step500"
    shutil.copytree(folder, step)
    truth = LATENT.parent / "ternary-llama.true-config.json"
    shutil.copy(truth, tmp_path / "run" / "config.json")
    code, done = run("infer-config", step)
    assert (
        code == 0
        and f"the config is that of the folder above: {tmp_path / 'run' / 'config.json'}" in done.stdout
    )
    code, done = run("convert", step, tmp_path / "out", "--converter", "plain")
    assert code == 0 and "note: the config is that of the folder above" in done.stderr
    assert json.loads((tmp_path / "out" / "config.json").read_text())["hidden_size"] == 128
    step.rename(tmp_path / "run" / "other")
    assert run("infer-config", tmp_path / "run" / "other")[0] == 1, (
        "only the folders of steps lie below their config"
    )
