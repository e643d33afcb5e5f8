"""Latent weights are found by the bytes that the conversion recorded, and by nothing else."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.verify.conftest import HRM_TEXT, TERNARY
from weightsmith.convert import convert
from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.verify.inputs.kinds import CAUSAL, controls, names_rope_base
from weightsmith.verify.inputs.latent import find_latent

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fused(tmp_path: Path) -> Path:
    convert(TERNARY, tmp_path / "fused")
    return tmp_path / "fused"


def test_a_source_beside_the_model_is_found_by_itself(fused: Path) -> None:
    assert find_latent(fused, None) is None
    shutil.copytree(TERNARY, fused.parent / "bought")
    found = find_latent(fused, None)
    assert found is not None
    assert found.folder == (fused.parent / "bought").resolve()
    assert found.hashes["pytorch_model.bin"].startswith("blake3:")


def test_one_other_byte_and_it_is_not_the_source(fused: Path) -> None:
    shutil.copytree(TERNARY, fused.parent / "bought")
    with (fused.parent / "bought" / "pytorch_model.bin").open("r+b") as file:
        file.seek(100_000)
        byte = file.read(1)
        file.seek(100_000)
        file.write(bytes([byte[0] ^ 1]))
    assert find_latent(fused, None) is None
    with pytest.raises(InvalidConfig, match=r"pytorch_model\.bin is not the file"):
        find_latent(fused, fused.parent / "bought")


def test_a_repaired_config_does_not_hide_the_source(fused: Path) -> None:
    shutil.copytree(TERNARY, fused.parent / "bought")
    (fused.parent / "bought" / "config.json").write_text("{}")
    assert find_latent(fused, None) is not None


def test_a_named_source_may_lie_anywhere(fused: Path, tmp_path: Path) -> None:
    assert find_latent(fused, TERNARY) is not None
    with pytest.raises(MissingInput, match="is no folder"):
        find_latent(fused, tmp_path / "nowhere")


def test_without_a_manifest_the_users_word_is_taken(tmp_path: Path) -> None:
    shutil.copytree(HRM_TEXT, tmp_path / "m")
    assert find_latent(tmp_path / "m", None) is None
    found = find_latent(tmp_path / "m", TERNARY)
    assert found is not None
    assert set(found.hashes) == {"pytorch_model.bin"}


@pytest.mark.parametrize("name", ["../pytorch_model.bin", "a/b", "", None, 3])
def test_a_manifest_that_leads_out_of_its_folder_names_no_source(fused: Path, name: object) -> None:
    shutil.copytree(TERNARY, fused.parent / "bought")
    document = json.loads((fused / "weightsmith.json").read_text())
    document["source"][1]["file"] = name
    (fused / "weightsmith.json").write_text(json.dumps(document))
    assert find_latent(fused, None) is None


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"rope_theta": 10000.0}, True),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, True),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": None}}, True),
        ({"rope_local_base_freq": 10000.0}, True),
        ({"text_config": {"rope_theta": 1e6}}, True),
        ({"rotary_emb_base": 10000}, True),
        ({"hidden_size": 8, "rope_theta": None, "rope_scaling": None}, False),
        ({"text_config": {"hidden_size": 8}}, False),
    ],
)
def test_a_rope_base_is_found_in_each_of_its_places(config: dict[str, object], named: bool) -> None:
    assert names_rope_base(config) is named


def test_controls_that_are_not_chosen_say_why(tmp_path: Path) -> None:
    chosen, left_out = controls(CAUSAL, {"n_embd": 8}, None, ternary=True)
    assert [control.name for control in chosen] == ["layer-skipped"]
    assert "no base of rotary positions" in left_out["wrong-rope-base"]
    assert "--latent" in left_out["unfused-weights"]
    chosen, left_out = controls(CAUSAL, {"rope_theta": 1e4}, tmp_path, ternary=True)
    assert [control.name for control in chosen] == ["layer-skipped", "wrong-rope-base", "unfused-weights"]
    assert left_out == {}


def test_a_manifest_that_records_nothing_but_a_config_names_no_source(fused: Path) -> None:
    shutil.copytree(TERNARY, fused.parent / "bought")
    document = json.loads((fused / "weightsmith.json").read_text())
    document["source"] = [row for row in document["source"] if row["file"] == "config.json"]
    assert document["source"]
    (fused / "weightsmith.json").write_text(json.dumps(document))
    assert find_latent(fused, None) is None


def test_a_neighbour_that_cannot_be_read_is_not_the_source(fused: Path) -> None:
    recorded = {"file": "big.bin", "bytes": 1 << 40, "hash": "00"}
    (fused / "weightsmith.json").write_text(
        json.dumps({"hash": "blake3", "converter": "ternary", "source": [recorded]})
    )
    for name in ("holes", "pipe"):
        (fused.parent / name).mkdir()
    with (fused.parent / "holes" / "big.bin").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(fused.parent / "pipe" / "big.bin")
    assert find_latent(fused, None) is None
