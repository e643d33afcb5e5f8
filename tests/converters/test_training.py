"""What torch's FSDP leaves becomes the release that was trained, bit for bit; how it was cut is never asked."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training_runs import damage, model
from tests.training_runs.starting import written
from weightsmith import library
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.convert import convert
from weightsmith.errors import (
    ConversionRefused,
    CorruptCheckpoint,
    MissingInput,
    UnknownFormat,
)
from weightsmith.values.diff import diff

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.convert.conversion import Conversion
# One worker writes the run for all of these.
pytestmark = pytest.mark.xdist_group("training-runs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written("fsdp", tmp_path_factory.mktemp("fsdp"))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.release(tmp_path_factory.mktemp("truth"), model.weights())


def same(one: Path, other: Path) -> bool:
    return diff(open_checkpoint(one), open_checkpoint(other)).verdict == "identical"


def converted(source: Path, target: Path, **options: str) -> Conversion:
    return convert(source, target, options=options, accept_guesses=True)


@pytest.mark.parametrize("folder", ["accelerate", "accelerate/pytorch_model_fsdp_0", "mesh"])
def test_a_distributed_checkpoint_is_the_release(
    runs: Path, truth: Path, tmp_path: Path, folder: str
) -> None:
    """accelerate's rows in four files; a mesh of data by tensor parallelism, whose blocks are rows and columns."""
    result = converted(runs / folder, tmp_path / "out")
    assert result.converter == "training"
    assert same(tmp_path / "out", truth)


def test_what_cut_the_model_is_told_by_the_files(runs: Path) -> None:
    run = open_checkpoint(runs / "mesh").run
    assert run is not None and run.processes == 4
    assert run.layout == {"rows": 4, "columns": 2}


@pytest.mark.parametrize(
    ("folder", "layout"),
    [
        ("verl/global_step_10/actor", {"shards": 4}),
        ("verl-mesh/actor", {"shards": 4}),
        ("verl-hybrid/actor", {"copies": 2, "shards": 2}),
    ],
)
def test_the_files_of_single_processes_are_the_release(
    runs: Path, truth: Path, tmp_path: Path, folder: str, layout: dict[str, int]
) -> None:
    result = convert(runs / folder, tmp_path / "out")
    assert same(tmp_path / "out", truth)
    run = open_checkpoint(runs / folder).run
    assert run is not None and run.layout == layout
    made = json.loads((tmp_path / "out/config.json").read_text())
    assert {name: made[name] for name in model.CONFIG} == model.CONFIG
    assert json.loads((tmp_path / "out/generation_config.json").read_text()) == {"temperature": 0.6}
    assert {"huggingface", "fsdp_config.json", "optim_world_size_4_rank_0.pt"} <= result.left_out.keys()


def test_the_first_generation_of_fsdp_is_read_where_it_has_a_mesh(
    runs: Path, truth: Path, tmp_path: Path
) -> None:
    """verl gives it one. Without it torch saves ShardedTensors, which are refused with a way out."""
    converted(runs / "verl-first/actor", tmp_path / "out")
    assert same(tmp_path / "out", truth)
    with pytest.raises(UnknownFormat, match=r"ShardedTensor.*device_mesh"):
        open_checkpoint(runs / "verl-without-mesh/actor")


def test_the_moving_averages_are_taken_unless_the_weights_are_asked_for(
    runs: Path, truth: Path, tmp_path: Path
) -> None:
    result = converted(runs / "averaged", tmp_path / "out")
    assert same(tmp_path / "out", model.release(tmp_path / "average", model.weights(8)))
    assert any("moving averages under 'ema.'" in note for note in result.notes)
    converted(runs / "averaged", tmp_path / "raw", weights="raw")
    assert same(tmp_path / "raw", truth)


def test_the_optimizer_alone_is_no_model(runs: Path, tmp_path: Path) -> None:
    """accelerate keeps it in a folder of its own, under the names of the model with `exp_avg` behind them."""
    with pytest.raises(ConversionRefused, match="holds training state"):
        converted(runs / "accelerate/optimizer_0", tmp_path / "out")


def test_infer_config_reads_the_model_in_a_run(runs: Path) -> None:
    found = library.infer(runs / "mesh")
    assert found.architecture.model_type == "llama"
    assert {f.name: f.derived for f in found.fields}["intermediate_size"] == model.CONFIG["intermediate_size"]
    assert not any(problem.code == "unmatched-tensors" for problem in found.problems)


def test_inspect_says_whose_run_it_is(runs: Path) -> None:
    told = library.inspect(runs / "verl-hybrid/actor").document()["run"]
    assert told is not None and told["processes"] == 4 and told["questions"] == []
    assert "8 files with optimizer and other state" in told["left_out"][0]


def test_copies_that_differ_are_damage(runs: Path, tmp_path: Path) -> None:
    """Two halves of a hybrid run hold the same; a changed bit in the second half is found while it is written."""
    folder = tmp_path / "actor"
    shutil.copytree(runs / "verl-hybrid/actor", folder)
    piece = open_checkpoint(folder).copies["model.layers.1.mlp.up_proj.weight"][0].pieces[1]
    raw = bytearray((folder / piece.storage.file).read_bytes())
    raw[piece.start] ^= 1
    (folder / piece.storage.file).write_bytes(raw)
    for dtype in (None, "bfloat16"):
        with pytest.raises(ConversionRefused, match="other numbers in copy 2 of 2") as caught:
            convert(folder, tmp_path / "out", dtype=dtype)
        assert caught.value.subject == "model.layers.1.mlp.up_proj.weight"
    assert not (tmp_path / "out").exists()


def test_a_missing_process_is_named(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "actor"
    shutil.copytree(runs / "verl-mesh/actor", folder)
    (folder / "model_world_size_4_rank_2.pt").unlink()
    with pytest.raises(MissingInput, match="3 of 4 processes; that of rank 2 is missing"):
        open_checkpoint(folder)


def test_files_of_two_runs_are_not_mixed(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "actor"
    shutil.copytree(runs / "verl-mesh/actor", folder)
    (folder / "model_world_size_4_rank_3.pt").rename(folder / "model_world_size_8_rank_3.pt")
    with pytest.raises(UnknownFormat, match="runs of 4 and 8 processes"):
        open_checkpoint(folder)


def test_a_file_of_another_place_in_the_mesh_is_refused(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "actor"
    shutil.copytree(runs / "verl/global_step_10/actor", folder)
    shutil.copy(folder / "model_world_size_4_rank_0.pt", folder / "model_world_size_4_rank_2.pt")
    with pytest.raises(CorruptCheckpoint, match="hold twice"):
        open_checkpoint(folder)


def test_one_process_alone_is_no_model(runs: Path) -> None:
    with pytest.raises(UnknownFormat, match="name the folder with the files of all processes"):
        open_checkpoint(runs / "verl/global_step_10/actor/model_world_size_4_rank_0.pt")


# torchtitan.

TITAN = {
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "layers",
    "lm_head": "output",
}


def pairs(weight: torch.Tensor, width: int) -> torch.Tensor:
    """Rows (side, pair) of each head as (pair, side): how a model that turns neighbours has the same projection."""
    return weight.view(-1, 2, width // 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def titan(tensors: dict[str, torch.Tensor], *, turned: bool = True) -> dict[str, torch.Tensor]:
    found = {}
    for name, tensor in tensors.items():
        new = name
        for old, other in TITAN.items():
            new = new.replace(old, other)
        is_turned = turned and new.endswith((".wq.weight", ".wk.weight"))
        found[new] = pairs(tensor, model.CONFIG["head_dim"]) if is_turned else tensor
    return found


def save(folder: Path, state: dict[str, Any]) -> Path:
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


@pytest.mark.filterwarnings("ignore")
def test_torchtitans_llama_asks_for_the_width_of_a_head(truth: Path, tmp_path: Path) -> None:
    state = {**titan(model.weights()), "train_state": {"step": torch.tensor(5)}}
    source = save(tmp_path / "step-5", state)
    with pytest.raises(
        ConversionRefused, match=r"does not tell head_dim \(2, 4, 8, 16, 32 would fit\).*--set head_dim"
    ):
        convert(source, tmp_path / "out")
    result = convert(source, tmp_path / "out", converter="training", options={"head_dim": "8"})
    assert same(tmp_path / "out", truth)
    assert json.loads((tmp_path / "out/config.json").read_text())["num_attention_heads"] == 8
    assert result.tensors.dropped == 1
    (source / "config.json").write_text(json.dumps(model.CONFIG))
    convert(source, tmp_path / "told")
    assert same(tmp_path / "told", truth)


@pytest.mark.filterwarnings("ignore")
def test_the_order_of_rows_keeps_the_attention_as_it_was(tmp_path: Path) -> None:
    """torchtitan turns neighbours, transformers halves: scores between any two places are the same numbers."""
    width, place, other = 8, 3.0, 11.0
    source = save(tmp_path / "step", titan(model.weights()))
    table = open_checkpoint(source, {"head_dim": width})
    x = np.random.default_rng(1).normal(size=64)
    angles = 10000.0 ** -(np.arange(0, width, 2) / width)

    def by_neighbours(q: np.ndarray, at: float) -> np.ndarray:
        turned = (q[:, 0::2] + 1j * q[:, 1::2]) * np.exp(1j * at * angles)
        return np.stack([turned.real, turned.imag], -1).reshape(q.shape)

    def by_halves(q: np.ndarray, at: float) -> np.ndarray:
        turned = (q[:, : width // 2] + 1j * q[:, width // 2 :]) * np.exp(1j * at * angles)
        return np.concatenate([turned.real, turned.imag], -1)

    raw = {
        part: titan(model.weights())[f"layers.0.attention.{part}.weight"].double().numpy()
        for part in ("wq", "wk")
    }
    expected = [
        by_neighbours((raw[p] @ x).reshape(-1, width), at) for p, at in (("wq", place), ("wk", other))
    ]
    with TensorReader(table) as reader:
        made = {
            p: reader.read(table.tensors[f"model.layers.0.self_attn.{p}_proj.weight"]).astype(float)
            for p in "qk"
        }
    found = [by_halves((made[p] @ x).reshape(-1, width), at) for p, at in (("q", place), ("k", other))]
    for (query, key), (query_found, key_found) in [(expected, found)]:
        assert np.allclose(query[:4] @ key.T, query_found[:4] @ key_found.T)


@pytest.mark.filterwarnings("ignore")
def test_torchtitans_qwen_turns_halves_already(tmp_path: Path) -> None:
    tensors = model.weights()
    norms = {f"model.layers.{n}.self_attn.{p}_norm.weight": torch.ones(8) * n for n in range(3) for p in "qk"}
    named = {
        name.replace("model.layers", "layers").replace("self_attn", "attention"): t
        for name, t in norms.items()
    }
    source = save(tmp_path / "step", {**titan(tensors, turned=False), **named})
    convert(source, tmp_path / "out", accept_guesses=True)
    assert same(tmp_path / "out", model.release(tmp_path / "truth", {**tensors, **norms}))
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "qwen3"


@pytest.mark.filterwarnings("ignore")
def test_heads_that_do_not_fit_are_no_answer(tmp_path: Path) -> None:
    source = save(tmp_path / "step", titan(model.weights()))
    with pytest.raises(UnknownFormat, match="does not fit heads of 24"):
        convert(source, tmp_path / "out", converter="training", options={"head_dim": "24"})


def test_what_no_training_run_left_is_not_converted_as_one(truth: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match="no part of a training run"):
        convert(truth, tmp_path / "out", converter="training")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_change_to_a_process_file_is_read_or_refused(
    data: st.DataObject, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed-training"
    damage.read_or_refused(data, runs / "verl-mesh/actor", "model_world_size_4_rank_1.pt", folder)
