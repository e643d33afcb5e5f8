"""What DeepSpeed's engine saves in any ZeRO stage is what its own zero_to_fp32.py makes of it, and what that loses."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training_runs import damage, model
from tests.training_runs.starting import written
from tests.training_runs.zero import BUFFER, FROZEN, STAGES
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.convert import convert
from weightsmith.errors import CorruptCheckpoint, MissingInput, UnknownFormat, WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path

STEP = "global_step5"
# One worker writes the run for all of these.
pytestmark = pytest.mark.xdist_group("zero-runs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written("zero", tmp_path_factory.mktemp("zero"), library="deepspeed")


def judged(runs: Path, stage: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(runs / f"judge-{stage}.pt")
    return found


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("inside", ["", STEP])
def test_every_weight_is_what_deepspeeds_own_tool_makes(runs: Path, stage: int, inside: str) -> None:
    table = open_checkpoint(runs / f"stage-{stage}" / inside)
    expected = judged(runs, stage)
    assert table.run is not None and table.run.processes == 3
    assert expected.keys() <= table.tensors.keys()
    with TensorReader(table) as reader:
        for name, tensor in expected.items():
            assert np.array_equal(
                reader.read(table.tensors[name]).astype(np.float32), tensor.float().numpy()
            ), name


def test_the_frozen_weights_of_stage_1_are_not_lost(runs: Path) -> None:
    """DeepSpeed lists them from stage 2 on; its tool leaves them away, the module's own state has them."""
    assert FROZEN not in judged(runs, 1)
    table = open_checkpoint(runs / "stage-1")
    with TensorReader(table) as reader:
        read = reader.read(table.tensors[FROZEN]).astype(np.float32)
    assert np.array_equal(read, model.weights()[FROZEN].bfloat16().float().numpy())


@pytest.mark.parametrize("stage", STAGES)
def test_the_release_has_a_config_and_the_dtype_that_is_asked_for(
    runs: Path, stage: int, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / f"stage-{stage}", run)
    (run / "config.json").write_text(json.dumps({**model.CONFIG, "tie_word_embeddings": True}))
    (run / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    result = convert(run, tmp_path / "out", dtype="bfloat16", allow_damage=True)
    assert any("master" in note for note in result.notes)
    made = open_checkpoint(tmp_path / "out")
    released = {name: t.bfloat16() for name, t in model.weights().items() if name != "lm_head.weight"}
    assert made.tensors.keys() == {*released, BUFFER}
    with TensorReader(made) as reader:
        for name, tensor in released.items():
            assert np.array_equal(reader.read(made.tensors[name]).astype(np.float32), tensor.float().numpy())
    assert (tmp_path / "out/tokenizer_config.json").exists()


def damaged(runs: Path, stage: int, folder: Path, name: str, change: Any) -> Path:
    """The step with one file unpickled, changed and saved again."""
    from tests.training_runs.starting import LIBRARIES

    shutil.copytree(runs / f"stage-{stage}" / STEP, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LIBRARIES))
        patch.setenv("DS_ACCELERATOR", "cpu")
        state = torch.load(folder / name, weights_only=False)
        change(state)
        torch.save(state, folder / name)
    return folder


OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


def cut_off(key: str) -> Any:
    def change(state: dict[str, Any]) -> None:
        groups = state["optimizer_state_dict"][key]
        groups[0] = groups[0][:-100].clone()

    return change


def moved(state: dict[str, Any]) -> None:
    mapping = state["optimizer_state_dict"]["param_slice_mappings"][0]
    next(iter(mapping.values())).start += 1


def test_vectors_that_do_not_hold_the_parameters_are_damage(runs: Path, tmp_path: Path) -> None:
    folder = damaged(runs, 2, tmp_path / "two", OPTIMIZER, cut_off("single_partition_of_fp32_groups"))
    with pytest.raises(CorruptCheckpoint):
        open_checkpoint(folder)
    folder = damaged(runs, 3, tmp_path / "three", OPTIMIZER, cut_off("fp32_flat_groups"))
    with pytest.raises(CorruptCheckpoint):
        open_checkpoint(folder)


def test_a_stated_place_that_contradicts_the_order_is_told(runs: Path, tmp_path: Path) -> None:
    folder = damaged(runs, 2, tmp_path / "step", OPTIMIZER, moved)
    with pytest.raises(CorruptCheckpoint, match=r"rank_1.*states [\d,]+ elements of"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("lost", "refusal"),
    [
        ("bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", "that of rank 1 is missing"),
        ("zero_pp_rank_2_mp_rank_00_model_states.pt", "has no zero_pp_rank_2"),
    ],
)
def test_a_missing_process_is_named(runs: Path, tmp_path: Path, lost: str, refusal: str) -> None:
    shutil.copytree(runs / "stage-3" / STEP, tmp_path / "step")
    (tmp_path / "step" / lost).unlink()
    with pytest.raises(MissingInput, match=refusal):
        open_checkpoint(tmp_path / "step")


def test_the_last_process_is_missed_too(runs: Path, tmp_path: Path) -> None:
    """Nothing in the names says how many there were: the vectors are too short."""
    for stage in (2, 3):
        folder = tmp_path / str(stage)
        shutil.copytree(runs / f"stage-{stage}" / STEP, folder)
        (folder / "bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt").unlink()
        with pytest.raises(WeightsmithError):
            open_checkpoint(folder)


def test_a_run_whose_last_step_is_gone_is_named(runs: Path, tmp_path: Path) -> None:
    shutil.copy(runs / "stage-2/latest", tmp_path)
    with pytest.raises(MissingInput, match="names the folder 'global_step5', which is not there"):
        open_checkpoint(tmp_path)


def test_experts_of_their_own_processes_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "stage-2" / STEP, tmp_path / "step")
    (tmp_path / "step/layer_0_expert_0_mp_rank_00_model_states.pt").write_bytes(b"")
    with pytest.raises(UnknownFormat, match="experts of their own processes"):
        open_checkpoint(tmp_path / "step")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_change_to_a_process_file_is_read_or_refused(
    data: st.DataObject, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed-zero"
    damage.read_or_refused(
        data, runs / "stage-3" / STEP, "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", folder
    )


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_change_to_the_models_file_is_read_or_refused(
    data: st.DataObject, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed-zero-2"
    damage.read_or_refused(data, runs / "stage-2" / STEP, "mp_rank_00_model_states.pt", folder)
