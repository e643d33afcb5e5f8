"""What Megatron-core's ranks hold becomes the release that mbridge cut for them, bit for bit; the layout is derived."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training_runs import damage, megatron_models, model
from tests.training_runs.starting import LIBRARIES, written
from weightsmith import library
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import (
    ConversionRefused,
    CorruptCheckpoint,
    HostileCheckpoint,
    MissingInput,
    UnknownFormat,
)
from weightsmith.values.diff import diff

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = {case.name: case for case in megatron_models.CASES}
STEP = "iter_0000005"
# What a user says where nothing else does.
SAID = {"vocab_size": str(model.CONFIG["vocab_size"]), "head_dim": str(model.CONFIG["head_dim"])}
# One worker writes the run for all of these.
pytestmark = pytest.mark.xdist_group("megatron-runs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written("megatron", tmp_path_factory.mktemp("megatron"), library="megatron")


def truth(folder: Path, case: str) -> Path:
    weights, config = megatron_models.truth(CASES[case])
    return model.release(folder, weights, config)


def same(one: Path, other: Path) -> bool:
    return diff(open_checkpoint(one), open_checkpoint(other)).verdict == "identical"


@pytest.mark.parametrize(
    ("case", "layout"),
    [
        ("dense", {"tensor": 2, "pipeline": 2, "virtual stages": 2}),
        ("tied", {"tensor": 2, "pipeline": 2}),
        ("uneven", {"tensor": 2, "pipeline": 2}),
        ("latent", {"tensor": 2}),
        ("experts", {"pipeline": 2, "expert": 2}),
        ("experts-whole", {"tensor": 2, "expert": 2}),
        ("experts-cut", {"tensor": 2, "expert": 2}),
    ],
)
def test_the_ranks_are_the_release(runs: Path, tmp_path: Path, case: str, layout: dict[str, int]) -> None:
    convert(runs / case, tmp_path / "out", converter="training", options=SAID, accept_guesses=True)
    assert same(tmp_path / "out", truth(tmp_path / "truth", case))
    run = open_checkpoint(runs / case).run
    assert run is not None
    assert {kind: degree for kind, degree in run.layout.items() if degree > 1} == layout


@pytest.mark.parametrize("case", megatron_models.DISTRIBUTED)
def test_megatrons_distributed_checkpoints_are_too(runs: Path, tmp_path: Path, case: str) -> None:
    convert(runs / f"{case}-dist", tmp_path / "out", accept_guesses=True)
    assert same(tmp_path / "out", truth(tmp_path / "truth", case))


def test_what_the_run_states_makes_the_config(runs: Path, tmp_path: Path) -> None:
    """Nothing is said, nothing is guessed: heads, bases and sizes stand in the run's args."""
    result = convert(runs / "dense", tmp_path / "out")
    assert result.converter == "training"
    made = json.loads((tmp_path / "out/config.json").read_text())
    wanted = ("num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size", "rms_norm_eps")
    assert {name: made[name] for name in wanted} == {name: model.CONFIG[name] for name in wanted}
    assert made["rope_parameters"]["rope_theta"] == 10000.0
    assert same(tmp_path / "out", truth(tmp_path / "truth", "dense"))
    assert library.infer(runs / "dense").verdict == "derived"


def test_the_width_of_a_head_is_asked_where_nothing_tells_it(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match=r"does not tell head_dim \(2, 4, 8, 16, 32"):
        convert(runs / "uneven", tmp_path / "out")
    told = library.inspect(runs / "uneven").document()["run"]
    assert told is not None and [question["name"] for question in told["questions"]] == ["head_dim"]
    folder = tmp_path / "run"
    shutil.copytree(runs / "uneven", folder)
    (folder / "config.json").write_text(json.dumps(model.CONFIG))
    convert(folder, tmp_path / "told")
    assert same(tmp_path / "told", truth(tmp_path / "truth", "uneven"))


def changed(
    runs: Path, folder: Path, change: Callable[[dict[str, Any], str], None], case: str = "dense"
) -> Path:
    """The step with every rank's file unpickled, changed and saved again."""
    shutil.copytree(runs / case / STEP, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LIBRARIES))
        for file in folder.glob("*/model_optim_rng.pt"):
            state = torch.load(file, weights_only=False)
            change(state, file.parent.name)
            torch.save(state, file)
    return folder


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("num_layers", 6, "states num_layers 6 in its args, and its tensors have 4"),
        ("tensor_model_parallel_size", 4, "states tensor_model_parallel_size 4"),
        ("num_query_groups", 2, "states num_query_groups 2"),
        ("num_attention_heads", 16, "states num_attention_heads 16"),
    ],
)
def test_a_claim_that_the_tensors_contradict_is_told(
    runs: Path, tmp_path: Path, name: str, value: int, refusal: str
) -> None:
    def lie(state: dict[str, Any], rank: str) -> None:
        setattr(state["args"], name, value)

    with pytest.raises(CorruptCheckpoint, match=refusal):
        open_checkpoint(changed(runs, tmp_path / "step", lie))


@pytest.mark.parametrize(("name", "value"), [("rotary_interleaved", True), ("apply_layernorm_1p", True)])
def test_another_model_under_the_same_names_is_refused(
    runs: Path, tmp_path: Path, name: str, value: object
) -> None:
    def other(state: dict[str, Any], rank: str) -> None:
        setattr(state["args"], name, value)

    with pytest.raises(UnknownFormat, match=name):
        open_checkpoint(changed(runs, tmp_path / "step", other))


def test_a_parameter_that_is_not_known_is_not_copied(runs: Path, tmp_path: Path) -> None:
    def add(state: dict[str, Any], rank: str) -> None:
        state["model0"]["decoder.layers.0.self_attention.sink.weight"] = torch.ones(4)

    with pytest.raises(UnknownFormat, match=r"self_attention\.sink\.weight.*no kind that is known"):
        open_checkpoint(changed(runs, tmp_path / "step", add))


def test_a_config_that_states_far_fewer_words_drops_none(runs: Path, tmp_path: Path) -> None:
    """Megatron fills up by less than 128 rows for each rank: a smaller vocabulary beside is a lie, not filling."""
    folder = tmp_path / "run"
    shutil.copytree(runs / "experts", folder)
    (folder / "config.json").write_text(json.dumps({**megatron_models.MOE, "vocab_size": 64}))
    assert open_checkpoint(folder).tensors["lm_head.weight"].shape[0] == 208
    assert open_checkpoint(folder, {"vocab_size": 64}).tensors["lm_head.weight"].shape[0] == 64


def test_an_mlp_without_a_gate_is_another_model(runs: Path, tmp_path: Path) -> None:
    def widen(state: dict[str, Any], rank: str) -> None:
        for chunk in ("model0", "model1"):
            for name in [name for name in state[chunk] if name.endswith("linear_fc2.weight")]:
                state[chunk][name] = state[chunk][name].repeat(1, 2)

    with pytest.raises(UnknownFormat, match="without a gate"):
        open_checkpoint(changed(runs, tmp_path / "step", widen))


def test_an_embedding_of_the_last_stage_is_a_copy(runs: Path, tmp_path: Path) -> None:
    """Heads that look ahead need one there: it is compared, and they are left out."""
    first = {
        rank: torch.load(
            runs / "uneven" / STEP / f"mp_rank_0{rank}_000/model_optim_rng.pt", weights_only=False
        )
        for rank in (0, 1)
    }

    def look_ahead(state: dict[str, Any], rank: str) -> None:
        if rank.endswith("_001"):
            embedding = first[int(rank[8:10])]["model"]["embedding.word_embeddings.weight"]
            state["model"]["embedding.word_embeddings.weight"] = embedding
            state["model"]["mtp.layers.0.enorm.weight"] = torch.ones(64)

    folder = changed(runs, tmp_path / "step", look_ahead, "uneven")
    result = convert(folder, tmp_path / "out", converter="training", options=SAID)
    assert same(tmp_path / "out", truth(tmp_path / "truth", "uneven"))
    assert any(
        "2 tensors of heads that predict tokens" in note or "1 tensors" in note for note in result.notes
    )
    assert "model.embed_tokens.weight" in open_checkpoint(folder, {"head_dim": 8}).copies


def test_heads_that_look_ahead_are_named_in_a_distributed_checkpoint(runs: Path, tmp_path: Path) -> None:
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint import metadata as kinds

    stored = dcp.FileSystemReader(runs / "uneven-dist").read_metadata().state_dict_metadata
    state: dict[str, Any] = {
        name: torch.empty(kind.size, dtype=kind.properties.dtype)
        for name, kind in stored.items()
        if isinstance(kind, kinds.TensorStorageMetadata)
    }
    dcp.load(state, storage_reader=dcp.FileSystemReader(runs / "uneven-dist"), no_dist=True)
    state["mtp.layers.0.enorm.weight"] = torch.ones(64)
    shutil.copytree(
        runs / "uneven-dist", tmp_path / "run", ignore=shutil.ignore_patterns("*.distcp", ".metadata")
    )
    dcp.save(state, storage_writer=dcp.FileSystemWriter(tmp_path / "run"), no_dist=True)
    result = convert(tmp_path / "run", tmp_path / "out", accept_guesses=True)
    assert same(tmp_path / "out", truth(tmp_path / "truth", "uneven"))
    assert any("1 tensors of heads that predict tokens" in note for note in result.notes)


def test_replicated_weights_that_differ_are_damage(runs: Path, tmp_path: Path) -> None:
    def drift(state: dict[str, Any], rank: str) -> None:
        if rank == "mp_rank_01_001":
            state["model1"]["decoder.final_layernorm.weight"][3] += 1

    folder = changed(runs, tmp_path / "step", drift)
    with pytest.raises(ConversionRefused, match="other numbers in copy 2 of 2") as caught:
        convert(folder, tmp_path / "out")
    assert caught.value.subject == "model.norm.weight"


@pytest.mark.parametrize("lost", ["mp_rank_00_001", "mp_rank_01_000"])
def test_a_missing_rank_is_told(runs: Path, tmp_path: Path, lost: str) -> None:
    shutil.copytree(runs / "dense" / STEP, tmp_path / "step")
    shutil.rmtree(tmp_path / "step" / lost)
    with pytest.raises(MissingInput, match="Megatron"):
        open_checkpoint(tmp_path / "step")


def test_a_stage_that_nobody_copied_is_told_without_args(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "uneven" / STEP, tmp_path / "step")
    for rank in ("mp_rank_00_001", "mp_rank_01_001"):
        shutil.rmtree(tmp_path / "step" / rank)
    with pytest.raises(CorruptCheckpoint, match=r"no whole model: 'decoder\.final_layernorm\.weight'"):
        open_checkpoint(tmp_path / "step")


def test_projections_to_low_ranks_that_every_rank_has_whole(runs: Path, tmp_path: Path) -> None:
    """Megatron cuts them or not, as its version and its kernels have it: only the numbers tell."""
    down = ("self_attention.linear_q_down_proj.weight", "self_attention.linear_kv_down_proj.weight")
    ranks = [runs / "latent" / STEP / f"mp_rank_0{n}" / "model_optim_rng.pt" for n in (0, 1)]
    parts = [torch.load(file, weights_only=False)["model"] for file in ranks]
    whole = {n: torch.cat([part[n] for part in parts]) for n in parts[0] if n.endswith(down)}

    def gather(state: dict[str, Any], rank: str) -> None:
        state["model"].update(whole)

    folder = changed(runs, tmp_path / "step", gather, "latent")
    convert(folder, tmp_path / "out", converter="training", options=SAID, accept_guesses=True)
    assert same(tmp_path / "out", truth(tmp_path / "truth", "latent"))


# MindSpeed's layers without parameters, and the names of older Megatron.


def test_layers_without_parameters_have_no_number(runs: Path, tmp_path: Path) -> None:
    """MindSpeed fills stages up with them (noop_layers): of six layers the second and the last hold nothing."""

    def spread(state: dict[str, Any], rank: str) -> None:
        state["args"].num_layers, state["args"].noop_layers = 6, {1, 5}
        if rank.endswith("_000"):
            old = state["model0"]
            state["model0"] = {name.replace("layers.0.", "layers.1."): value for name, value in old.items()}

    folder = changed(runs, tmp_path / "step", spread)
    convert(folder, tmp_path / "out")
    assert same(tmp_path / "out", truth(tmp_path / "truth", "dense"))


OLDER = {
    "decoder.layers.": "encoder.layers.",
    "decoder.final_layernorm": "encoder.final_norm",
    "self_attention.linear_qkv": "self_attention.query_key_value",
    "self_attention.linear_proj": "self_attention.dense",
    "mlp.linear_fc1": "mlp.dense_h_to_4h",
    "mlp.linear_fc2": "mlp.dense_4h_to_h",
    "input_layernorm": "input_norm",
    "pre_mlp_layernorm": "post_attention_norm",
}


def older(state: dict[str, Any], rank: str) -> None:
    """As language_model.py nested them: embedding, encoder and output layer apart, the encoder's names flat."""
    nested: dict[str, Any] = {}
    for name, value in state.pop("model").items():
        for new, old in OLDER.items():
            name = name.replace(new, old)
        if name.startswith("encoder."):
            nested.setdefault("encoder", {})[name.removeprefix("encoder.")] = value
        else:
            part, *rest = name.split(".")
            place = nested.setdefault(part, {})
            for word in rest[:-1]:
                place = place.setdefault(word, {})
            place[rest[-1]] = value
    state["model"] = {"language_model": nested}


def test_the_names_of_older_megatron_are_read(runs: Path, tmp_path: Path) -> None:
    folder = changed(runs, tmp_path / "step", older, "uneven")
    convert(folder, tmp_path / "out", converter="training", options=SAID)
    assert same(tmp_path / "out", truth(tmp_path / "truth", "uneven"))


def test_the_order_of_rows_before_version_2_is_refused(runs: Path, tmp_path: Path) -> None:
    def first(state: dict[str, Any], rank: str) -> None:
        state["checkpoint_version"] = 1.0

    with pytest.raises(UnknownFormat, match=r"checkpoint version 1\.0"):
        open_checkpoint(changed(runs, tmp_path / "step", first))


def test_experts_in_one_matrix_are_taken_apart(runs: Path, tmp_path: Path) -> None:
    """The older grouped product: weight1.view(experts, hidden, 2 * inner), weight2.view(experts, inner, hidden)."""

    def group(state: dict[str, Any], rank: str) -> None:
        tensors = state["model"]
        for layer in {name.split(".")[2] for name in tensors if ".local_experts." in name}:
            at = f"decoder.layers.{layer}.mlp.experts."
            count = len({name.split(".")[6] for name in tensors if name.startswith(f"{at}local_experts.")})
            for number, fc in ((1, "linear_fc1"), (2, "linear_fc2")):
                parts = [tensors.pop(f"{at}local_experts.{n}.{fc}.weight") for n in range(count)]
                flat = torch.stack([part.T.contiguous() for part in parts])
                hidden = megatron_models.MOE["hidden_size"]
                shape = (hidden, -1) if number == 1 else (-1, hidden)
                tensors[f"{at}weight{number}"] = flat.reshape(-1).view(*shape).clone()

    folder = changed(runs, tmp_path / "step", group, "experts")
    convert(folder, tmp_path / "out", converter="training", options=SAID, accept_guesses=True)
    assert same(tmp_path / "out", truth(tmp_path / "truth", "experts"))


def test_a_lone_rank_is_no_model(runs: Path, tmp_path: Path) -> None:
    for rank in ("mp_rank_00_000", "mp_rank_01_001"):
        with pytest.raises((ConversionRefused, UnknownFormat)):
            convert(runs / "uneven" / STEP / rank, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_of_several_steps_one_must_be_named(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "dense" / STEP, tmp_path / "run" / STEP)
    assert open_checkpoint(tmp_path / "run").tensors
    shutil.copytree(runs / "dense" / STEP, tmp_path / "run/iter_0000006")
    with pytest.raises(MissingInput, match=r"2 steps of a training run.*iter_0000006"):
        open_checkpoint(tmp_path / "run")


def test_a_step_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("700")
    with pytest.raises(MissingInput, match="names the step 'iter_0000700', which is not there"):
        open_checkpoint(tmp_path)


def test_classes_of_the_library_among_its_arguments_are_inert(runs: Path, tmp_path: Path) -> None:
    """Each version of Megatron and MindSpeed pickles others."""

    def add(state: dict[str, Any], rank: str) -> None:
        from megatron.core.dist_checkpointing.validation import StrictHandling
        from megatron.core.inference.inference_request import Status

        state["args"].strict, state["args"].status = StrictHandling.RAISE_ALL, Status.COMPLETED

    assert open_checkpoint(changed(runs, tmp_path / "step", add)).tensors


def test_functions_of_the_library_are_not(runs: Path, tmp_path: Path) -> None:
    class Call:
        def __reduce__(self) -> tuple[Any, ...]:
            from megatron.core.utils import get_model_config

            return get_model_config, (1,)

    rank = tmp_path / STEP / "mp_rank_00"
    rank.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LIBRARIES))
        torch.save({"model": {"a": torch.ones(2)}, "args": Namespace(x=Call())}, rank / "model_optim_rng.pt")
    with pytest.raises(HostileCheckpoint, match=r"megatron\.core\.utils\.get_model_config"):
        open_checkpoint(tmp_path / STEP)


def test_what_a_rank_file_runs_is_refused_unrun(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "trap",)

    rank = tmp_path / STEP / "mp_rank_00"
    rank.mkdir(parents=True)
    torch.save({"model": {"a": torch.ones(2)}, "args": Namespace(x=Trap())}, rank / "model_optim_rng.pt")
    with pytest.raises(Exception, match="nothing was executed"):
        open_checkpoint(tmp_path / STEP)
    assert not (tmp_path / "trap").exists()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_change_to_a_process_file_is_read_or_refused(
    data: st.DataObject, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed-megatron"
    damage.read_or_refused(data, runs / "experts-cut" / STEP, "mp_rank_01_000/model_optim_rng.pt", folder)


def numbered(state: dict[str, Any], rank: str) -> None:
    """As Transformer Engine's grouped product names the experts of a rank: weight0, weight1, …"""
    for name in [name for name in state["model"] if ".local_experts." in name]:
        number, fc = name.split(".local_experts.")[1].split(".")[:2]
        new = f"{name.split('.local_experts.')[0]}.{fc}"
        value = state["model"].pop(name)
        if value is not None:
            state["model"][f"{new}.weight{number}"] = value


def test_experts_of_a_grouped_product_are_numbered(runs: Path, tmp_path: Path) -> None:
    folder = changed(runs, tmp_path / "step", numbered, "experts-cut")
    convert(folder, tmp_path / "out", converter="training", options=SAID, accept_guesses=True)
    assert same(tmp_path / "out", truth(tmp_path / "truth", "experts-cut"))


def test_experts_of_a_model_without_norms_of_q_and_k_are_mixtrals(runs: Path, tmp_path: Path) -> None:
    def bare(state: dict[str, Any], rank: str) -> None:
        for name in [name for name in state["model"] if "q_layernorm" in name or "k_layernorm" in name]:
            del state["model"][name]

    folder = changed(runs, tmp_path / "step", bare, "experts")
    convert(folder, tmp_path / "out", converter="training", options=SAID, accept_guesses=True)
    made = open_checkpoint(tmp_path / "out").tensors
    assert made["model.layers.1.block_sparse_moe.experts.3.w2.weight"].shape == (64, 32)
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "mixtral"
