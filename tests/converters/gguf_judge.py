"""Lets gguf write a small model of each architecture, and compares what transformers and weightsmith read of it.

PYTHONPATH=.venv/gguf:. python -m tests.converters.gguf_judge FOLDER Q8_0
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quants
from transformers import AutoConfig, AutoModelForCausalLM

import weightsmith
from weightsmith.checkpoint.gguf_architectures import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.arrays import Array

SIZES: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 256, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
}  # fmt: skip
# Where transformers' mapping lacks a size it takes the default of the class: the sizes of experts, and qwen3's heads.
OWN: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 32, "rope_theta": 5e5},
    "qwen3": {"head_dim": 128},
    "qwen2moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
    },
    "qwen3moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 768, "head_dim": 32,
        "norm_topk_prob": True,
    },
    "gemma2": {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 64, "tie_word_embeddings": True},
    "gemma3": {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 64, "tie_word_embeddings": True},
    "stablelm": {"use_qkv_bias": True, "partial_rotary_factor": 0.25},
    "nemotron": {"head_dim": 32},
}  # fmt: skip
# The entries by the writer's names, and the settings that hold them.
ENTRIES = {
    "context_length": "max_position_embeddings", "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size", "head_count": "num_attention_heads",
    "head_count_kv": "num_key_value_heads", "vocab_size": "vocab_size", "key_length": "head_dim",
    "expert_count": "num_experts", "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size", "sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping",
}  # fmt: skip
EPSILONS = {
    "layer_norm_rms_eps": ("rms_norm_eps", "norm_eps"),
    "layer_norm_eps": ("norm_epsilon", "layer_norm_eps", "norm_eps"),
}


def small(family: str) -> Any:
    """A model of this architecture with numbers in every tensor."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(ARCHITECTURES[family].model_type, **{**SIZES, **OWN.get(family, {})})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def write(family: str, model: Any, kind: str, path: Path) -> None:
    """As llama.cpp's convert_hf_to_gguf.py writes it."""
    config = model.config
    architecture = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == family)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    writer = GGUFWriter(path, family)
    for entry, key in ENTRIES.items():
        value = getattr(config, key, None)
        if value is not None and not (entry == "sliding_window" and not value):
            getattr(writer, f"add_{entry}")(value)
    for entry, keys in EPSILONS.items():
        found = next((value for key in keys if (value := getattr(config, key, None)) is not None), None)
        if found is not None:
            getattr(writer, f"add_{entry}")(found)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_dimension_count(int(head * rope.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(rope["rope_theta"])
    for name, number in (("bos", 1), ("eos", 2), ("pad", 0)):
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_token_list([f"<{number}>" for number in range(config.vocab_size)])
    for module, last, numbers in stored(family, model):
        asked = GGMLQuantizationType[kind if numbers.ndim > 1 else "F32"]
        name = names.get_name(module)
        assert name is not None, module
        writer.add_tensor(f"{name}{last}", quants.quantize(numbers, asked), raw_dtype=asked)
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()


def stored(family: str, model: Any) -> Iterator[tuple[str, str, Array]]:
    """(module, the end of its name, numbers), after what llama.cpp does to them."""
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        module, _, last = name.rpartition(".")
        numbers = tensor.float()
        if name.endswith(".gate_up_proj"):
            for part, half in zip(("gate_proj", "up_proj"), numbers.chunk(2, dim=1), strict=True):
                yield f"{module}.{part}", ".weight", half.contiguous().numpy()
            continue
        if last not in ("weight", "bias"):
            yield name, ".weight", numbers.numpy()
            continue
        if family == "llama" and (count := heads.get(module.rpartition(".")[2])):
            numbers = numbers.unflatten(0, (count, 2, -1)).swapaxes(1, 2).reshape(numbers.shape)
        if family in ("gemma2", "gemma3", "nemotron") and name.endswith("norm.weight"):
            numbers = numbers + 1
        if name.endswith("shared_expert_gate.weight"):
            numbers = numbers.squeeze()
        yield module, f".{last}", numbers.contiguous().numpy()


def settings_of(config: Any, names: set[str]) -> dict[str, Any]:
    """Settings by name, and how heads are rotated; float32 as the shortest number that it stands for."""
    found = {name: getattr(config, name) for name in {*names, "rope_parameters"} if hasattr(config, name)}
    return {key: _shortest(value) if isinstance(value, float) else value for key, value in found.items()}


def _shortest(number: float) -> float:
    return float(np.format_float_positional(np.float32(number), unique=True))


def judge(family: str, kind: str, folder: Path) -> str:
    """What is the same, in words. Raises AssertionError where something is not."""
    folder.mkdir()
    model = small(family)
    write(family, model, kind, folder / "model.gguf")
    theirs = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file="model.gguf", dtype=torch.float32
    ).state_dict()
    weightsmith.convert(folder / "model.gguf", folder / "out", dtype="float32")
    read = AutoModelForCausalLM.from_pretrained(folder / "out", dtype=torch.float32)
    ours = read.state_dict()
    assert ours.keys() == theirs.keys(), f"{family}: {ours.keys() ^ theirs.keys()}"
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), f"{family} {name}: off by {(ours[name] - tensor).abs().max()}"
    written = json.loads((folder / "out" / "config.json").read_text())
    # A width of heads is written for each, and some classes derive it.
    names = {name for name in written if hasattr(model.config, name)} - {"architectures", "dtype"}
    mine, true = settings_of(read.config, names), settings_of(model.config, names)
    assert mine == true, f"{family}: {mine}, and it is {true}"
    return f"{family} {kind}: {len(theirs)} tensors and {len(mine)} settings are the same"


def main(folder: Path, kinds: list[str]) -> None:
    for family in ARCHITECTURES:
        for kind in kinds:
            print(judge(family, kind, folder / f"{family}-{kind}"), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
