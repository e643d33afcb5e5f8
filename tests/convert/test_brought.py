"""What people bring beside plain checkpoints: wrapped names, whole training runs, slices, adapters, lost tensors."""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file

from tests.values.making import save, save_bin
from weightsmith import inspect
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused, HostileCheckpoint, MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 40,
    "tie_word_embeddings": False,
}


def llama(layers: int = 2) -> dict[str, torch.Tensor]:
    shapes = {"model.embed_tokens.weight": (40, 32), "model.norm.weight": (32,), "lm_head.weight": (40, 32)}
    for layer in range(layers):
        own = {
            "input_layernorm": (32,), "post_attention_layernorm": (32,), "self_attn.q_proj": (32, 32),
            "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32), "self_attn.o_proj": (32, 32),
            "mlp.gate_proj": (64, 32), "mlp.up_proj": (64, 32), "mlp.down_proj": (32, 64),
        }  # fmt: skip
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in own.items()}
    return {name: torch.randn(*shape).bfloat16() for name, shape in shapes.items()}


def same(folder: Path, tensors: dict[str, torch.Tensor]) -> bool:
    found = load_file(folder / "model.safetensors")
    return found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(
    ("wrapped", "said"),
    [
        (lambda name: f"module.{name}", "'module.'"),
        (lambda name: f"module._orig_mod.{name}", "'module._orig_mod.'"),
        (lambda name: f"_fsdp_wrapped_module.{name}", "'_fsdp_wrapped_module.'"),
        (lambda name: name.replace("layers.1.", "layers.1._orig_mod."), "_orig_mod inside"),
        (
            lambda name: name.replace("mlp.", "mlp._checkpoint_wrapped_module."),
            "_checkpoint_wrapped_module inside",
        ),
    ],
)
def test_names_lose_what_training_wrapped_around(
    tmp_path: Path, wrapped: Callable[[str], str], said: str
) -> None:
    tensors = llama()
    source = save_bin(tmp_path / "source", {wrapped(name): tensor for name, tensor in tensors.items()}, LLAMA)
    result = convert(source, tmp_path / "out")
    assert same(tmp_path / "out", tensors)
    assert any(said in note and "has the names without it" in note for note in result.notes)
    assert any(said in problem.message for problem in inspect(source).checkpoint.problems)


def test_names_that_no_family_knows_are_kept_with_a_word(tmp_path: Path) -> None:
    """One tensor stands there twice, wrapped and not: which of the two is the model's, nobody can tell."""
    tensors = {f"_orig_mod.{name}": tensor for name, tensor in llama().items()}
    tensors["lm_head.weight"] = -tensors["_orig_mod.lm_head.weight"]
    result = convert(save_bin(tmp_path / "source", tensors, LLAMA), tmp_path / "out")
    assert same(tmp_path / "out", tensors)
    assert any(
        "no family of the catalog explains its tensors (nearest: llama" in note for note in result.notes
    )


def save_run(folder: Path, state: dict[str, Any], config: dict[str, Any] | None = LLAMA) -> Path:
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


def optimizer(tensors: dict[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}.exp_avg": torch.zeros_like(tensor) for name, tensor in tensors.items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "layout",
    [
        lambda t: {"model": t, "optimizer": {"state": optimizer(t)}, "step": torch.tensor(7)},
        lambda t: {"app": {"model": t, "optim": optimizer(t)}},
        lambda t: {**t, "optimizer": {"state": optimizer(t)}, "train_state": {"step": torch.tensor(7)}},
        lambda t: {"model": t},
    ],
)
def test_of_a_run_the_weights_alone_are_written(
    tmp_path: Path, layout: Callable[[dict[str, torch.Tensor]], dict[str, Any]]
) -> None:
    tensors = llama()
    convert(save_run(tmp_path / "source", layout(tensors)), tmp_path / "out")
    assert same(tmp_path / "out", tensors)


@pytest.mark.filterwarnings("ignore")
def test_what_megatron_keeps_for_all_ranks_is_no_weight(tmp_path: Path) -> None:
    tensors = llama()
    source = save_run(tmp_path / "source", {**tensors, "optimizer": {"state": optimizer(tensors)}})
    torch.save({"args": argparse.Namespace(x=1), "iteration": 3}, source / "common.pt")
    convert(source, tmp_path / "out")
    assert same(tmp_path / "out", tensors)


@pytest.mark.filterwarnings("ignore")
def test_training_state_beside_an_unknown_model_is_named(tmp_path: Path) -> None:
    weights = {"w1": torch.ones(4, 4), "w2": torch.ones(4, 4)}
    source = save_run(tmp_path / "a", {**weights, "optimizer": optimizer(weights)}, None)
    with pytest.raises(ConversionRefused, match="training state, such as the optimizer's"):
        convert(source, tmp_path / "out")
    source = save_run(tmp_path / "b", {"model": weights, "optimizer": optimizer(weights)}, None)
    result = convert(source, tmp_path / "out")
    assert same(tmp_path / "out", weights)
    assert "left out: 2 tensors of its training run (optimizer)" in result.notes[-1]


@pytest.mark.filterwarnings("ignore")
def test_two_models_in_one_run_are_not_chosen_between(tmp_path: Path) -> None:
    tensors = llama()
    source = save_run(tmp_path / "source", {"ema": tensors, "teacher": tensors})
    with pytest.raises(ConversionRefused, match="the weights of 2 models"):
        convert(source, tmp_path / "out")


def test_what_training_loops_save_beside_the_weights_is_inert(tmp_path: Path) -> None:
    tensors = llama()
    args = argparse.Namespace(out=pathlib.PurePosixPath("runs/1"), since=datetime.date(2026, 1, 2), lr=1e-4)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    torch.save({"model": tensors, "args": args, "epoch": 3}, tmp_path / "last.pt")
    convert(tmp_path / "last.pt", tmp_path / "out")
    assert same(tmp_path / "out", tensors)


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_what_would_run_something_is_refused_as_before(tmp_path: Path) -> None:
    torch.save({"model": llama(), "args": argparse.Namespace(x=Runs())}, tmp_path / "last.pt")
    with pytest.raises(HostileCheckpoint):
        convert(tmp_path / "last.pt", tmp_path / "out")


def test_slices_of_model_parallel_ranks_are_no_model(tmp_path: Path) -> None:
    for rank in range(2):
        folder = tmp_path / f"run/iter_0000500/mp_rank_{rank:02d}"
        folder.mkdir(parents=True)
        torch.save(
            {"model": {"decoder.layers.0.mlp.linear_fc1.weight": torch.ones(4, 4)}}, folder / "weights.pt"
        )
    for inside in ("", "iter_0000500"):
        with pytest.raises(MissingInput, match=r"slices of a model.*2 model-parallel ranks.*join the slices"):
            convert(tmp_path / "run" / inside, tmp_path / "out")
    for one in ("mp_rank_00", "mp_rank_01/weights.pt"):
        with pytest.raises(
            ConversionRefused, match=r"is the slice of a model.*name the folder above.*join the slices"
        ):
            convert(tmp_path / "run/iter_0000500" / one, tmp_path / "out")
    (tmp_path / "alone").mkdir()
    (tmp_path / "run/iter_0000500/mp_rank_00").rename(tmp_path / "alone/mp_rank_00")
    assert not open_checkpoint(tmp_path / "alone/mp_rank_00").incomplete()
    assert open_checkpoint(tmp_path / "run/iter_0000500/mp_rank_01").incomplete()


def test_tensors_that_the_config_demands_and_nobody_has(tmp_path: Path) -> None:
    tensors = llama()
    del tensors["model.layers.1.mlp.up_proj.weight"]
    source = save(tmp_path / "source", tensors, LLAMA)
    with pytest.raises(ConversionRefused, match=r"is incomplete: model\.layers\.1\.mlp\.up_proj\.weight"):
        convert(source, tmp_path / "out")
    result = convert(source, tmp_path / "out", allow_damage=True)
    assert not result.sound
    assert [problem.code for problem in result.problems] == ["missing-tensors"]


def test_an_adapter_beside_its_base_stays_behind_whole(tmp_path: Path) -> None:
    source = save(tmp_path / "source", llama(), LLAMA)
    save_file({"base_model.model.x.lora_A.weight": torch.ones(2, 2)}, source / "adapter_model.safetensors")
    (source / "adapter_config.json").write_text("{}")
    result = convert(source, tmp_path / "out")
    assert set(result.left_out) == {"adapter_config.json", "adapter_model.safetensors"}
    assert all("--converter lora" in why for why in result.left_out.values())


def test_an_adapter_of_any_kind_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    save_file({"prompt_embeddings": torch.ones(8, 4)}, tmp_path / "source/adapter_model.safetensors")
    (tmp_path / "source/adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    with pytest.raises(ConversionRefused, match=r"holds an adapter, no model \(adapter_model.safetensors\)"):
        convert(tmp_path / "source", tmp_path / "out")


def test_a_prefix_that_code_of_its_own_may_want_stays(tmp_path: Path) -> None:
    tensors = {f"net.{name}": tensor for name, tensor in llama().items()}
    for own, names in (({}, llama().keys()), ({"auto_map": {"AutoModel": "mine.Model"}}, tensors.keys())):
        source = save(tmp_path / f"source{len(own)}", tensors, {**LLAMA, **own})
        convert(source, tmp_path / f"out{len(own)}")
        assert load_file(tmp_path / f"out{len(own)}/model.safetensors").keys() == names


def test_code_that_auto_map_names_goes_along_with_a_file(tmp_path: Path) -> None:
    source = save(tmp_path / "source", llama(), {**LLAMA, "auto_map": {"AutoModel": "mine.Model"}})
    (source / "mine.py").write_text("from .helper import x\nimport os\n")
    (source / "helper.py").write_text("")
    (source / "stranger.py").write_text("")
    convert(source / "model.safetensors", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").glob("*.py")}
    assert names == {"mine.py", "helper.py"}


def test_a_cast_leaves_what_transformers_keeps_wide(tmp_path: Path) -> None:
    bias = {"model.layers.1.mlp.gate.e_score_correction_bias": torch.rand(4)}
    tensors = {"model.layers.1.mlp.gate.weight": torch.rand(4, 8), **bias}
    for model_type, kept in (("deepseek_v3", True), ("minimax_m2", False), ("of_its_own", True)):
        source = save(tmp_path / model_type, tensors, {"model_type": model_type})
        convert(source, tmp_path / f"{model_type}-out", dtype="bfloat16")
        found = load_file(tmp_path / f"{model_type}-out/model.safetensors")
        assert found["model.layers.1.mlp.gate.weight"].dtype == torch.bfloat16
        (name,) = bias
        assert torch.equal(found[name], bias[name] if kept else bias[name].bfloat16())
