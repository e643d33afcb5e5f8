"""A training run's distributed checkpoint becomes a release: the averages, under the released names, with a config."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file
from weightsmith.converters.hrm_training import read_run, run_config, tokenizer_files

from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import (
    ConversionRefused,
    HostileCheckpoint,
    InvalidConfig,
    MissingInput,
    UnknownFormat,
)
from weightsmith.values.diff import diff

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "tests/models/hrm-text"
EPOCH = "fsdp2_epoch_2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes of torch's FSDP2 wrote it: every matrix lies in two files."""
    folder = tmp_path_factory.mktemp("hrm") / "run"
    module = "tests.converters.training_run"
    subprocess.run(
        [sys.executable, "-m", module, RELEASED, folder], cwd=ROOT, check=True, capture_output=True
    )
    return folder


def test_the_release_is_the_moving_averages_bit_for_bit(run: Path, tmp_path: Path) -> None:
    result = convert(run / EPOCH, tmp_path / "out", options={"tokenizer": str(RELEASED)})
    assert result.converter == "hrm-text"
    assert diff(open_checkpoint(tmp_path / "out"), open_checkpoint(RELEASED)).verdict == "identical"
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (RELEASED / "tokenizer.json").read_bytes()


def test_its_config_says_all_that_the_published_one_says(run: Path, tmp_path: Path) -> None:
    """Layers and widths are counted in the tensors, the rest is the run's own description."""
    convert(run / EPOCH, tmp_path / "out", options={"tokenizer": str(RELEASED)})
    made = json.loads((tmp_path / "out/config.json").read_text())
    published = json.loads((RELEASED / "config.json").read_text())
    # Training alone knows dropout and back-propagated cycles; pad is the tokenizer's.
    of_no_forward_pass = {
        "L_bp_cycles",
        "attention_dropout",
        "pad_token_id",
        "transformers_version",
        "use_cache",
    }
    theirs = {k: v for k, v in published.items() if k not in of_no_forward_pass}
    theirs["torch_dtype"], theirs["bos_token_id"] = theirs.pop("dtype"), 257
    assert made == theirs


def test_transformers_loads_the_release(run: Path, tmp_path: Path) -> None:
    from transformers import HrmTextForCausalLM

    convert(run / EPOCH, tmp_path / "out", options={"layout": "split"})
    _, report = HrmTextForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]


def test_the_last_steps_weights_are_taken_when_asked_for(run: Path, tmp_path: Path) -> None:
    convert(run / EPOCH, tmp_path / "out", options={"weights": "raw"}, dtype="float32")
    raw, released = load_file(tmp_path / "out/model.safetensors"), RELEASED / "model.safetensors"
    averages = {n: w.astype("float32") for n, w in load_file(released).items()}
    trained = averages.keys() - {"model.z_L_init"}
    assert trained
    assert all((raw[name] == 2 * averages[name]).all() for name in trained)
    assert (raw["model.z_L_init"] == averages["model.z_L_init"]).all()


def test_a_missing_tokenizer_is_said(run: Path, tmp_path: Path) -> None:
    result = convert(run / EPOCH, tmp_path / "out")
    assert any("tokenizer" in note for note in result.notes)


def test_the_runs_folder_names_its_last_epoch(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / EPOCH).rename(tmp_path / "run/fsdp2_epoch_10")
    shutil.copytree(run / EPOCH, tmp_path / "run/fsdp2_epoch_9")
    with pytest.raises(UnknownFormat, match="fsdp2_epoch_10"):
        open_checkpoint(tmp_path / "run")


def test_without_the_runs_description_nothing_is_guessed(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / EPOCH, tmp_path / "alone" / EPOCH)
    with pytest.raises(MissingInput, match=r"all_config\.yaml"):
        convert(tmp_path / "alone" / EPOCH, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "refusal", "fact"),
    [
        ({"norm_type": "post"}, ConversionRefused, "norm_type"),
        ({"pos_emb_type": "none"}, ConversionRefused, "pos_emb_type"),
        ({"num_heads": 0}, InvalidConfig, "no number of anything"),
        ({"num_heads": "four"}, InvalidConfig, "do not describe"),
    ],
)
def test_a_run_that_no_release_can_carry_is_refused(
    run: Path, tmp_path: Path, change: dict[str, object], refusal: type[Exception], fact: str
) -> None:
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run/all_config.yaml"
    config = yaml.safe_load(file.read_text())
    config["arch"] |= change
    file.write_text(yaml.dump(config))
    with pytest.raises(refusal, match=fact):
        convert(tmp_path / "run" / EPOCH, tmp_path / "out")


def test_yaml_that_names_python_objects_is_not_obeyed(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    trap = tmp_path / "trap"
    (tmp_path / "run/all_config.yaml").write_text(f"!!python/object/apply:os.mkdir ['{trap}']\n")
    with pytest.raises(InvalidConfig, match="YAML"):
        convert(tmp_path / "run" / EPOCH, tmp_path / "out")
    assert not trap.exists()


_RUN = {"hidden_size": 128, "num_heads": 4, "H_cycles": 2, "L_cycles": 3}


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": math.inf},
        {"hidden_size": math.nan},
        {"num_heads": 10**400},
        {"num_heads": 0},
        {"num_heads": -4},
        {"H_cycles": 2.5},
        {"H_cycles": [2]},
        {"norm_eps": math.nan},
        {"init_std": math.inf},
        {"init_std": 0},
    ],
)
def test_numbers_that_describe_no_model_are_one_line(changed: dict[str, object]) -> None:
    arch: Any = {**_RUN, **changed}
    assert run_config({"arch": dict(_RUN)}, {"max_seq_len": 8}, Path("run"))["head_dim"] == 32
    with pytest.raises(InvalidConfig) as caught:
        run_config({"arch": arch}, {"max_seq_len": 8}, Path("run"))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a: " + b"1:" * 500_000 + b"1\n", "has 1,000,00. bytes, more than"),
        (b"[" * 30_000, "recursion"),
        (b"a: &a {x: 1}\nb: {<<: *a}\n", "merges mappings"),
        (b"a: &a {x: 1}\nb: {!!merge y: *a}\n", "merges mappings"),
        (b"a: 2020-99-99\n", "month must be"),
        (b"a: " + b"9" * 5000, "4300 digits"),
        (b"a: " + b"1:" * 10_000 + b"1.0\n", "too large"),
        (b"? [a]\n: b\n", "unhashable"),
        (b"!!python/object/apply:os.abort []\n", "could not determine a constructor"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
    ],
)
def test_a_description_that_a_stranger_wrote_is_one_line(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "all_config.yaml").write_bytes(raw)
    (tmp_path / "train_metadata.yaml").write_text("max_seq_len: 8\n")
    began = time.process_time()
    with pytest.raises(InvalidConfig, match=said) as caught:
        read_run(tmp_path)
    assert len(str(caught.value)) < 500 and time.process_time() - began < 4


def test_a_description_that_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "all_config.yaml")
    with pytest.raises(MissingInput, match=r"all_config\.yaml: is no regular file"):
        read_run(tmp_path)
    (tmp_path / "tokenizer.json").symlink_to("/etc/hostname")
    with pytest.raises(HostileCheckpoint, match="leads out"):
        tokenizer_files(tmp_path)
