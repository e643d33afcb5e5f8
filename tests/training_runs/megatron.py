"""Writes what Megatron-core's processes hold of a small model: real GPTModels of four processes over gloo.

    PYTHONPATH=FOLDER_WITH_MEGATRON_AND_MBRIDGE python -m tests.training_runs.megatron FOLDER

mbridge makes Megatron's weights of the released ones and cuts them; Megatron's own modules say which layers and experts
a process has. Folders and what lies in a file: Megatron-LM (training/checkpointing.py).
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.training_runs import model, processes

PROCESSES = 4
# Megatron fills the vocabulary up to a multiple of this for each rank.
FILLED = 208
MOE: dict[str, Any] = {
    **model.CONFIG,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_hidden_layers": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "router_aux_loss_coef": 0.001,
}


def moe_weights(seed: int = 9) -> dict[str, torch.Tensor]:
    """A small Qwen 3 with experts under its released names."""
    dense = model.weights(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    hidden, inner, width = MOE["hidden_size"], MOE["moe_intermediate_size"], MOE["head_dim"]
    found = {name: t for name, t in dense.items() if ".mlp." not in name and ".layers.2." not in name}
    for layer in range(MOE["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes = {f"{at}mlp.gate.weight": (MOE["num_experts"], hidden)}
        shapes |= {f"{at}self_attn.{part}_norm.weight": (width,) for part in "qk"}
        for expert in range(MOE["num_experts"]):
            one = f"{at}mlp.experts.{expert}."
            shapes |= {f"{one}gate_proj.weight": (inner, hidden), f"{one}up_proj.weight": (inner, hidden)}
            shapes[f"{one}down_proj.weight"] = (hidden, inner)
        found |= {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return found


@dataclass(frozen=True)
class Case:
    """How a run was cut. first: layers of the first stage, where not as the others. args: whether files state it."""

    name: str
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    expert_tensor: int = 1
    virtual: int | None = None
    first: int | None = None
    layers: int = 4
    moe: bool = False
    args: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("dense", tensor=2, pipeline=2, virtual=2),
    Case("uneven", tensor=2, pipeline=2, first=1, layers=3, args=False),
    Case("experts", pipeline=2, expert=2, moe=True, layers=2, args=False),
    Case("experts-whole", tensor=2, expert=2, moe=True, layers=2, args=False),
    Case("experts-cut", tensor=2, expert=2, expert_tensor=2, moe=True, layers=2, args=False),
)

# Those that are also written as Megatron's distributed checkpoints (torch_dist).
DISTRIBUTED = ("uneven", "experts")


def truth(case: Case) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(released weights, config) that the case's run must come to."""
    if case.moe:
        return moe_weights(), MOE
    config = {**model.CONFIG, "num_hidden_layers": case.layers}
    weights = model.weights()
    for name in [n for n in weights if ".layers.0." in n] if case.layers == 4 else []:
        weights[name.replace(".0.", ".3.")] = weights[name].flip(0)
    return weights, config


def chunks(case: Case) -> list[Any]:
    """Megatron's modules of this process."""
    from megatron.core import parallel_state
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.transformer_config import TransformerConfig

    _, config = truth(case)
    settings = TransformerConfig(
        num_layers=case.layers,
        hidden_size=config["hidden_size"],
        num_attention_heads=config["num_attention_heads"],
        num_query_groups=config["num_key_value_heads"],
        kv_channels=config["head_dim"],
        ffn_hidden_size=config["intermediate_size"],
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        normalization="RMSNorm",
        use_cpu_initialization=True,
        params_dtype=torch.float32,
        pipeline_dtype=torch.float32,
        tensor_model_parallel_size=case.tensor,
        pipeline_model_parallel_size=case.pipeline,
        virtual_pipeline_model_parallel_size=case.virtual,
        num_layers_in_first_pipeline_stage=case.first,
        expert_model_parallel_size=case.expert,
        expert_tensor_parallel_size=case.expert_tensor if case.moe else None,
        num_moe_experts=config["num_experts"] if case.moe else None,
        moe_ffn_hidden_size=config["moe_intermediate_size"] if case.moe else None,
        qk_layernorm=case.moe,
    )
    found = []
    for stage in range(case.virtual or 1):
        virtual = stage if case.virtual else None
        found.append(
            GPTModel(
                settings,
                get_gpt_decoder_block_spec(settings, use_transformer_engine=False, vp_stage=virtual),
                vocab_size=FILLED,
                max_sequence_length=config["max_position_embeddings"],
                pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=virtual),
                post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=virtual),
                position_embedding_type="rope",
                share_embeddings_and_output_weights=False,
                vp_stage=virtual,
            )
        )
    return found


def fill(module: Any, case: Case) -> None:
    """The released weights into Megatron's parameters: mbridge fuses and cuts them."""
    from mbridge.models.qwen2 import Qwen2Bridge
    from mbridge.models.qwen3moe import Qwen3MoEBridge
    from megatron.core import parallel_state
    from transformers import AutoConfig

    weights, config = truth(case)
    settings = AutoConfig.for_model(
        config["model_type"], **{k: v for k, v in config.items() if k != "model_type"}
    )
    settings.rope_theta = config["rope_theta"]
    bridge = (Qwen3MoEBridge if case.moe else Qwen2Bridge)(
        settings, dtype=torch.float32, make_vocab_size_divisible_by=FILLED
    )
    bridge.vocab_size, bridge.padded_vocab_size = config["vocab_size"], FILLED
    tensor = parallel_state.get_tensor_model_parallel_rank()
    for name, parameter in module.named_parameters():
        named, expert = whole_name(module, name, case)
        whole = bridge._weight_to_mcore_format(named, [weights[one] for one in released(bridge, named)])
        count, rank = (case.tensor, tensor)
        if expert:
            count = case.expert_tensor
            rank = parallel_state.get_expert_tensor_parallel_rank()
        with torch.no_grad():
            parameter.copy_(bridge._weight_split_across_tp(named, whole, parameter, count)[rank])


def whole_name(module: Any, name: str, case: Case) -> tuple[str, bool]:
    """(mbridge's name of a parameter in the whole model, whether it is an expert's)."""
    from megatron.core import parallel_state

    match = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", name)
    if match is None:
        return name, False
    layer = module.decoder.layers[int(match[1])].layer_number - 1
    inner, expert = (
        match[2],
        re.fullmatch(r"mlp\.experts\.local_experts\.(\d+)\.(linear_fc[12])\.weight", match[2]),
    )
    if expert:
        number = int(expert[1]) + parallel_state.get_expert_model_parallel_rank() * (
            MOE["num_experts"] // case.expert
        )
        inner = f"mlp.experts.{expert[2]}.weight{number}"
    return f"decoder.layers.{layer}.{inner}", expert is not None


def released(bridge: Any, name: str) -> list[str]:
    """Its names in the release, as mbridge has them; norms that Transformer Engine fuses stand for themselves here."""
    layer = name.split(".")[2] if name.startswith("decoder.layers.") else ""
    alone = {"input_layernorm": "input_layernorm", "pre_mlp_layernorm": "post_attention_layernorm"}
    for own, other in alone.items():
        if name.endswith(f".{own}.weight"):
            return [f"model.layers.{layer}.{other}.weight"]
    return list(bridge._weight_name_mapping_mcore_to_hf(name))


def run_args(case: Case) -> argparse.Namespace:
    """What Megatron-LM's arguments are, among them objects that are no plain values."""
    from megatron.core.transformer.enums import AttnBackend

    _, config = truth(case)
    return argparse.Namespace(
        num_layers=case.layers,
        hidden_size=config["hidden_size"],
        ffn_hidden_size=config["intermediate_size"],
        num_attention_heads=config["num_attention_heads"],
        group_query_attention=True,
        num_query_groups=config["num_key_value_heads"],
        kv_channels=config["head_dim"],
        tensor_model_parallel_size=case.tensor,
        pipeline_model_parallel_size=case.pipeline,
        expert_model_parallel_size=case.expert,
        rotary_base=10000,
        norm_epsilon=1e-5,
        init_method_std=0.02,
        max_position_embeddings=512,
        position_embedding_type="rope",
        normalization="RMSNorm",
        untie_embeddings_and_output_weights=True,
        padded_vocab_size=FILLED,
        vocab_size=config["vocab_size"],
        params_dtype=torch.float32,
        attention_backend=AttnBackend.auto,
        save=Path("runs"),
    )


def write_case(case: Case, folder: Path) -> None:
    from megatron.core import dist_checkpointing, parallel_state

    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=case.tensor,
        pipeline_model_parallel_size=case.pipeline,
        virtual_pipeline_model_parallel_size=case.virtual,
        expert_model_parallel_size=case.expert,
        expert_tensor_parallel_size=case.expert_tensor,
    )
    modules = chunks(case)
    for module in modules:
        fill(module, case)
    numbers = f"{parallel_state.get_tensor_model_parallel_rank():02d}"
    if case.pipeline > 1:
        numbers += f"_{parallel_state.get_pipeline_model_parallel_rank():03d}"
    if case.expert > 1:
        numbers += f"_{parallel_state.get_expert_model_parallel_rank():03d}"
    at = folder / case.name / "iter_0000005" / f"mp_rank_{numbers}"
    at.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {
        "checkpoint_version": 3.0,
        "iteration": 5,
        "rng_state": [{"torch": torch.get_rng_state()}],
    }
    state["optimizer"] = {"param_groups": [{"lr": 1e-4}], "fp32_from_fp16_params": [[torch.ones(3)]]}
    if case.args:
        state["args"] = run_args(case)
    for number, module in enumerate(modules):
        state[f"model{number}" if len(modules) > 1 else "model"] = module.state_dict()
    torch.save(state, at / "model_optim_rng.pt")
    (folder / case.name / "latest_checkpointed_iteration.txt").write_text("5")
    if case.name in DISTRIBUTED:
        at = folder / f"{case.name}-dist"
        at.mkdir(parents=True, exist_ok=True)
        dist.barrier()
        whole = {"model": modules[0].sharded_state_dict(), "args": run_args(case), "iteration": 5}
        dist_checkpointing.save(whole, str(at))
    parallel_state.destroy_model_parallel()


def write(rank: int, target: str) -> None:
    # There is no device to wait for, and Megatron's writer asks for one.
    torch.cuda.synchronize = lambda *_: None
    torch.cuda.current_device = lambda: "cpu"  # type: ignore[assignment, return-value]
    for case in CASES:
        write_case(case, Path(target))
        dist.barrier()


if __name__ == "__main__":
    from mbridge.models import qwen3moe  # noqa: F401 - before the processes are made

    processes.run(write, PROCESSES, sys.argv[1])
