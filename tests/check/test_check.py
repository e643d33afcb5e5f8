"""`check` says what infer-config and inspect say, of every checkpoint that it is given, and writes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import weightsmith
from tests.checkpoint.headers import write_headers_only
from tests.shapes.predicted import predicted
from weightsmith.checkpoint.hashing import file_hash

if TYPE_CHECKING:
    from weightsmith.check import CheckedCheckpoint

MODELS = Path(__file__).parents[1] / "models"
SOUND, LIE = MODELS / "hrm-text", MODELS / "ternary-llama"
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96, "vocab_size": 128,
    "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
}  # fmt: skip


def only(*checkpoints: Path, **options: object) -> CheckedCheckpoint:
    (one,) = weightsmith.check(*checkpoints, **options).checkpoints  # type: ignore[arg-type]
    return one


def verdicts(one: CheckedCheckpoint) -> dict[str, str]:
    return {check.name: check.verdict for check in one.checks}


def rules(one: CheckedCheckpoint) -> list[tuple[str, str]]:
    return [(finding.rule, finding.level) for finding in one.findings]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sound model, to be spoiled."""
    shutil.copytree(SOUND, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A sound llama of two shards and an index, headers alone."""
    write_headers_only(tmp_path / "llama", predicted(LLAMA), shards=2)
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA, indent=2))
    return tmp_path / "llama"


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2))


def test_a_sound_checkpoint_passes_and_each_check_says_what_it_saw() -> None:
    one = only(SOUND, values="full")
    assert one.verdict == "sound" and one.findings == ()
    assert verdicts(one) == {
        "files": "pass", "config": "pass", "tensors": "pass", "index": "skip", "tokenizer": "pass",
        "generation": "pass", "manifest": "skip", "values": "pass",
    }  # fmt: skip
    assert all(check.says for check in one.checks)
    assert "19 tensors, 788,608 parameters" in one.checks[0].says
    assert verdicts(only(SOUND))["values"] == "skip", "nobody asked"


def test_what_the_weights_contradict_is_told_at_its_line() -> None:
    one = only(LIE)
    assert one.verdict == "unsound" and verdicts(one)["config"] == "fail"
    text = (LIE / "config.json").read_text().splitlines()
    for finding in one.findings:
        assert finding.path == str(LIE / "config.json") and finding.line is not None
        assert f'"{finding.message.split()[0]}"' in text[finding.line - 1]
    assert len(one.findings) == 4
    (size,) = (finding.message for finding in one.findings if "hidden_size" in finding.message)
    assert size == "hidden_size is 160, the weights say 128 (model.embed_tokens.weight axis 1 = 128)"


def test_nothing_is_written(tmp_path: Path) -> None:
    shutil.copytree(LIE, tmp_path / "model")
    before = {path: file_hash(path, "sha256", 1) for path in (tmp_path / "model").iterdir()}
    weightsmith.check(tmp_path / "model", values="full", strict=True)
    assert {path: file_hash(path, "sha256", 1) for path in (tmp_path / "model").iterdir()} == before


def test_one_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"\x10")
    found = weightsmith.check(SOUND, tmp_path / "absent", tmp_path / "torn.safetensors", LIE)
    assert [one.verdict for one in found.checkpoints] == ["sound", "unreadable", "unreadable", "unsound"]
    assert found.verdict == "unreadable"
    assert rules(found.checkpoints[1]) == [("missing-input", "error")]
    assert weightsmith.check(SOUND, LIE).verdict == "unsound"
    assert weightsmith.check().verdict == "sound"


def test_each_checkpoint_is_checked_once(model: Path) -> None:
    assert len(weightsmith.check(model, f"{model}/", str(model), SOUND).checkpoints) == 2


def test_a_broken_config_is_unreadable_and_the_weights_are_looked_at_all_the_same(model: Path) -> None:
    (model / "config.json").write_text("{")
    one = only(model, values="full")
    assert one.verdict == "unreadable"
    found = verdicts(one)
    assert (found["files"], found["config"], found["values"]) == ("pass", "unreadable", "pass")
    assert (found["tensors"], found["tokenizer"]) == ("skip", "skip"), (
        "nothing is claimed of what was not compared"
    )


def test_an_index_that_names_other_tensors_is_an_error_and_another_size_a_warning(llama: Path) -> None:
    assert only(llama).verdict == "sound" and verdicts(only(llama))["index"] == "pass"
    index = llama / "model.safetensors.index.json"
    edited(index, metadata={"total_size": 1})
    one = only(llama)
    assert (one.verdict, rules(one)) == ("sound", [("index-total-size", "warning")])
    weight_map = json.loads(index.read_text())["weight_map"]
    del weight_map["model.norm.weight"]
    edited(index, weight_map=weight_map)
    one = only(llama)
    assert one.verdict == "unsound" and ("index-unlisted-tensor", "error") in rules(one)
    assert {finding.path for finding in one.findings} == {str(index)}


def test_side_files_that_disagree_are_warnings_and_errors_where_asked(model: Path) -> None:
    edited(model / "generation_config.json", eos_token_id=999)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["added_tokens"][0]["id"] = 5000
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    one = only(model)
    assert one.verdict == "sound"
    places = {finding.rule: Path(finding.path).name for finding in one.findings}
    assert places["special-id"] == "generation_config.json"
    assert places["tokenizer-vocabulary"] == "tokenizer.json"
    assert verdicts(only(model, strict=True)) == {**verdicts(one), "tokenizer": "fail", "generation": "fail"}
    (model / "generation_config.json").write_text("[]")
    assert ("side-file", "warning") in rules(only(model))


def test_what_is_no_model_and_what_no_family_explains_is_not_sound(tmp_path: Path) -> None:
    write_headers_only(
        tmp_path / "adapter", {"a.q_proj.lora_A.weight": (4, 16), "a.q_proj.lora_B.weight": (16, 4)}
    )
    write_headers_only(tmp_path / "strange", {"strange.weight": (3, 5)})
    (tmp_path / "strange" / "config.json").write_text(json.dumps({"model_type": "strange"}))
    adapter, strange = weightsmith.check(tmp_path / "adapter", tmp_path / "strange").checkpoints
    assert (adapter.verdict, rules(adapter)) == ("unsound", [("adapter", "error")])
    assert (strange.verdict, rules(strange)) == (
        "unsound",
        [("unknown-family", "error"), ("own-class", "warning")],
    )


def test_lost_tensors_are_told_once_and_no_size_is_claimed(tmp_path: Path) -> None:
    shapes = predicted(LLAMA)
    write_headers_only(tmp_path, {name: shape for name, shape in shapes.items() if ".0." in name})
    weight_map = dict.fromkeys(shapes, "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    one = only(tmp_path)
    assert one.verdict == "unsound"
    assert {name for name, verdict in verdicts(one).items() if verdict == "fail"} == {"index", "tensors"}
    assert verdicts(one)["config"] == "skip"


def test_without_a_config_what_nothing_decides_is_an_error(llama: Path) -> None:
    (llama / "config.json").unlink()
    one = only(llama)
    guesses = [finding for finding in one.findings if finding.level == "error"]
    assert one.verdict == "unsound" and {finding.rule for finding in guesses} == {"guess"}
    assert all(finding.path == str(llama) for finding in guesses), "there is no config to point into"
    assert "--set " in guesses[0].message


def test_without_a_config_where_the_weights_force_all_of_it_it_is_sound(tmp_path: Path) -> None:
    write_headers_only(tmp_path, predicted({**LLAMA, "model_type": "qwen3", "tie_word_embeddings": True}))
    one = only(tmp_path)
    assert one.verdict == "sound", "the norms of its heads are as wide as a head"
    assert next(check.says for check in one.checks if check.name == "config").startswith(
        "there is none; the weights"
    )


def test_what_convert_wrote_is_still_that(tmp_path: Path) -> None:
    out = tmp_path / "out"
    weightsmith.convert(SOUND, out, converter="plain")
    one = only(out)
    assert one.verdict == "sound" and verdicts(one)["manifest"] == "pass"
    assert "--values" in next(check.says for check in one.checks if check.name == "manifest")
    weights = out / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert only(out).verdict == "sound", "of weights the headers tell the size alone"
    one = only(out, values="full")
    assert one.verdict == "unsound" and [f.path for f in one.findings] == [str(weights)]
    config = out / "config.json"
    config.write_text(config.read_text().replace("  ", "\t ", 1))
    assert ("changed-file", "error") in rules(only(out)), "a config is hashed: it is small"
    manifest = out / "weightsmith.json"
    manifest.write_text(manifest.read_text() + " " * (3 << 20))
    assert verdicts(only(out))["manifest"] == "skip", "a list of so many files takes longer than all headers"
    assert verdicts(only(out, values="full"))["manifest"] == "fail"
    manifest.write_text("{}")
    assert verdicts(only(out))["manifest"] == "unreadable"


def test_damage_is_told_at_its_file_and_not_without_end(llama: Path) -> None:
    tensors = {
        name: np.ones(shape, np.float32)
        for name, shape in predicted({**LLAMA, "num_hidden_layers": 40}).items()
    }
    path = llama / "model.safetensors"
    for file in llama.iterdir():
        file.unlink()
    save_file(tensors, path)
    one = only(llama, values="full")
    (values,) = (check for check in one.checks if check.name == "values")
    assert values.verdict == "fail" and len(values.findings) == 101
    assert values.findings[0].path == str(path)
    more = sum(len(t.shape) == 2 for t in load_file(path).values()) - 100
    assert values.findings[-1].message.startswith(f"and {more} more, such as: ")
    assert values.says == f"{100 + more} errors"


def test_a_file_stands_for_its_folder_and_folders_without_weights_are_passed_over(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "config.json").write_text("{}")
    files = [
        model / "config.json",
        model / "tokenizer.json",
        tmp_path / "web" / "config.json",
        LIE / "config.json",
    ]
    found = weightsmith.check(*files, by_folder=True)
    assert [one.path for one in found.checkpoints] == [str(model), str(LIE)]
    assert weightsmith.check(model, by_folder=True).checkpoints[0].path == str(model)
    assert weightsmith.check("x" * 5000, by_folder=True).checkpoints == ()
