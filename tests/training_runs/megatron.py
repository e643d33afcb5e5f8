"""Writes what Megatron-core's processes hold of a small model: real GPTModels of four processes over gloo.

    PYTHONPATH=FOLDER_WITH_MEGATRON_AND_MBRIDGE python -m tests.training_runs.megatron FOLDER

mbridge makes Megatron's weights of the released ones and cuts them; Megatron's own modules say which layers and experts
a process has. Folders and what lies in a file: Megatron-LM (training/checkpointing.py).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.training_runs import processes
from tests.training_runs.megatron_models import CASES, DISTRIBUTED, FILLED, MOE, Case, truth

PROCESSES = 4


def common(case: Case) -> dict[str, Any]:
    """Megatron's settings for a case."""
    _, config = truth(case)
    experts = {}
    if case.moe:
        experts = {
            "expert_tensor_parallel_size": case.expert_tensor,
            "num_moe_experts": config.get("num_experts", config.get("n_routed_experts")),
            "moe_ffn_hidden_size": config["moe_intermediate_size"],
        }
    return {
        "num_layers": case.layers,
        "hidden_size": config["hidden_size"],
        "num_attention_heads": config["num_attention_heads"],
        "num_query_groups": config["num_key_value_heads"],
        "kv_channels": config.get("head_dim"),
        "ffn_hidden_size": config["intermediate_size"],
        "gated_linear_unit": True,
        "activation_func": torch.nn.functional.silu,
        "add_bias_linear": False,
        "add_qkv_bias": case.tied,
        "normalization": "RMSNorm",
        "use_cpu_initialization": True,
        "params_dtype": torch.float32,
        "pipeline_dtype": torch.float32,
        "tensor_model_parallel_size": case.tensor,
        "pipeline_model_parallel_size": case.pipeline,
        "virtual_pipeline_model_parallel_size": case.virtual,
        "num_layers_in_first_pipeline_stage": case.first,
        "expert_model_parallel_size": case.expert,
        "qk_layernorm": case.moe,
        **experts,
    }


def latent(case: Case) -> dict[str, Any]:
    """The same of attention through low ranks."""
    _, config = truth(case)
    return {
        **common(case),
        "multi_latent_attention": True,
        "q_lora_rank": config["q_lora_rank"],
        "kv_lora_rank": config["kv_lora_rank"],
        "qk_head_dim": config["qk_nope_head_dim"],
        "qk_pos_emb_head_dim": config["qk_rope_head_dim"],
        "v_head_dim": config["v_head_dim"],
        "rope_type": "rope",
        "apply_rope_fusion": False,
        "moe_shared_expert_intermediate_size": config["moe_intermediate_size"],
        "moe_layer_freq": [0, 1],
        "moe_router_enable_expert_bias": True,
        "moe_router_score_function": "sigmoid",
        "moe_router_load_balancing_type": "none",
    }


def without_kernel(spec: Any) -> Any:
    """The layers without the product of queries and keys: it has no weights, and some have no CPU version."""
    from megatron.core.transformer import multi_latent_attention
    from megatron.core.transformer.identity_op import IdentityOp

    class Absent:
        """Stands for Transformer Engine's linear layers, which no layer here is."""

    multi_latent_attention.TELinear = multi_latent_attention.TEColumnParallelLinear = Absent
    for layer in spec.layer_specs:
        layer.submodules.self_attention.submodules.core_attention = IdentityOp
    return spec


def chunks(case: Case) -> list[Any]:
    """Megatron's modules of this process."""
    from megatron.core import parallel_state
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig

    _, config = truth(case)
    settings = MLATransformerConfig(**latent(case)) if case.latent else TransformerConfig(**common(case))
    found = []
    for stage in range(case.virtual or 1):
        virtual = stage if case.virtual else None
        found.append(
            GPTModel(
                settings,
                without_kernel(
                    get_gpt_decoder_block_spec(settings, use_transformer_engine=False, vp_stage=virtual)
                ),
                vocab_size=FILLED,
                max_sequence_length=config["max_position_embeddings"],
                pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=virtual),
                post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=virtual),
                position_embedding_type="rope",
                share_embeddings_and_output_weights=case.tied,
                vp_stage=virtual,
            )
        )
    return found


def fill(module: Any, case: Case) -> None:
    """The released weights into Megatron's parameters: mbridge fuses and cuts them."""
    from mbridge.models.deepseek_v3 import DeepseekV3Bridge
    from mbridge.models.qwen2 import Qwen2Bridge
    from mbridge.models.qwen3moe import Qwen3MoEBridge
    from megatron.core import parallel_state
    from transformers import AutoConfig

    weights, config = truth(case)
    settings = AutoConfig.for_model(
        config["model_type"], **{k: v for k, v in config.items() if k != "model_type"}
    )
    settings.rope_theta = config["rope_theta"]
    kind = DeepseekV3Bridge if case.latent else Qwen3MoEBridge if case.moe else Qwen2Bridge
    # Its own settings of DeepSeek name one that this Megatron has no more: the module's are the same. A tied head is
    # noted in the class, for all that come after.
    own = {"_build_config": lambda _: module.config, "_DIRECT_MAPPING": dict(kind._DIRECT_MAPPING)}
    known = type(kind.__name__, (kind,), own)
    bridge = known(settings, dtype=torch.float32, make_vocab_size_divisible_by=FILLED)
    bridge.vocab_size, bridge.padded_vocab_size = config["vocab_size"], FILLED
    tensor = parallel_state.get_tensor_model_parallel_rank()
    biases = [
        (name, buffer) for name, buffer in module.named_buffers() if name.endswith("router.expert_bias")
    ]
    for name, parameter in [*module.named_parameters(), *biases]:
        named, expert = whole_name(module, name, case)
        wanted = [
            "model.embed_tokens.weight" if case.tied and one == "lm_head.weight" else one
            for one in released(bridge, named)
        ]
        whole = bridge._weight_to_mcore_format(named, [weights[one] for one in wanted])
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
    if "kv_lora_rank" in bridge.hf_config.to_dict():
        alone |= {"q_layernorm": "self_attn.q_a_layernorm", "kv_layernorm": "self_attn.kv_a_layernorm"}
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
        untie_embeddings_and_output_weights=not case.tied,
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
    copies = (
        parallel_state.get_expert_data_parallel_rank()
        if case.moe
        else parallel_state.get_data_parallel_rank()
    )
    if copies == 0:
        at.mkdir(parents=True, exist_ok=True)
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
    # There is no device to move to or to wait for, and Megatron asks for one.
    torch.Tensor.cuda = lambda self, *_: self  # type: ignore[assignment, method-assign]
    torch.cuda.synchronize = lambda *_: None
    torch.cuda.current_device = lambda: "cpu"  # type: ignore[assignment, return-value]
    for case in CASES:
        write_case(case, Path(target))
        dist.barrier()


if __name__ == "__main__":
    from mbridge.models import qwen3moe  # noqa: F401 - before the processes are made

    processes.run(write, PROCESSES, sys.argv[1])
