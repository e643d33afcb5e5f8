"""Faults of the files beside the weights: what a config, a generation config or a tokenizer says and is not so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.faults.case import Fault, known
from benchmarks.faults.folder import ABSENT, both, config, cut, json_of, text, without

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.case import Command, Model, Witness
    from benchmarks.faults.folder import Change


def _lie(
    name: str,
    model: Model,
    make: Change | None,
    names: str,
    command: Command = "infer-config",
    witness: Witness = "shapes",
    *,
    baseline: bool = False,
    unseen: str = "",
) -> Fault:
    return Fault(name, "config", model, names, command, witness, make=make, baseline=baseline, unseen=unseen)


def _run(name: str, model: Model, make: Change, names: str, *, baseline: bool = False) -> Fault:
    """A lie that no shape depends on, so that the running model has to tell."""
    return _lie(name, model, make, names, "verify-on-npu", "behaviour", baseline=baseline)


def _without_token(token: str) -> Change:
    """Takes a special token out of tokenizer.json."""

    def change(folder: Path) -> None:
        path = folder / "tokenizer.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] != token]
        data["model"]["vocab"].pop(token, None)
        path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")

    return change


def _swapped_letters(folder: Path) -> None:
    """Another tokenizer of the same size: every byte's id belongs to its neighbour."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = data["model"]["vocab"]
    data["model"]["vocab"] = {token: n ^ 1 if n < 256 else n for token, n in vocabulary.items()}
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


def _added_token(folder: Path) -> None:
    """A chat token that the embedding has no row for."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["added_tokens"].append({**data["added_tokens"][-1], "id": 300, "content": "<|tool|>"})
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


_INT4 = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 4,
                "type": "int",
                "symmetric": True,
                "strategy": "group",
                "group_size": 128,
            },
        }
    },
}
_PARITY = r"^(parity|baseline)\."

LIES: tuple[Fault, ...] = (
    _lie("four sizes wrong, as its publisher hands it out", "handed", None, r"hidden_size"),
    _lie("hidden_size too large", "fused", config(hidden_size=160), r"hidden_size"),
    _lie("intermediate_size too small", "fused", config(intermediate_size=256), r"intermediate_size"),
    _lie("a layer too many", "fused", config(num_hidden_layers=5), r"num_hidden_layers"),
    _lie("a layer too few", "fused", config(num_hidden_layers=3), r"num_hidden_layers"),
    _lie("key-value heads doubled", "fused", config(num_key_value_heads=4), r"num_key_value_heads"),
    _lie("vocabulary rounded up to 320", "fused", config(vocab_size=320), r"vocab_size"),
    _lie(
        "heads of half the size, their products unchanged",
        "fused",
        config(num_attention_heads=8, num_key_value_heads=4, head_dim=16),
        r"head_dim|short_factor",
    ),
    known(
        "heads of twice the size, their products unchanged",
        "config",
        "hrm",
        config(num_attention_heads=2, head_dim=64),
        r"num_attention_heads: 2 is ruled out",
    ),
    _lie("layers of a stack", "hrm", config(num_layers_per_stack=3), r"num_layers_per_stack"),
    _lie("cycles that the layer count contradicts", "hrm", config(H_cycles=3), r"num_hidden_layers|H_cycles"),
    _lie(
        "tied although the head is its own",
        "fused",
        config(tie_word_embeddings=True),
        r"tie_word_embeddings",
    ),
    _lie("untied although there is no head", "tied", config(tie_word_embeddings=False), r"tie_word|lm_head"),
    _lie("attention has biases", "fused", config(attention_bias=True), r"attention_bias|bias"),
    _lie("attention has biases", "hrm", config(attention_bias=True), r"attention_bias|bias"),
    _lie("MLP has biases", "fused", config(mlp_bias=True), r"mlp_bias|bias"),
    _lie("model_type of a family with other tensors", "fused", config(model_type="qwen2"), r"model_type"),
    _lie("model_type of nobody", "fused", config(model_type="lama"), r"model_type"),
    _lie(
        "architectures of another family",
        "fused",
        config(architectures=["Qwen2ForCausalLM"]),
        r"architectures",
    ),
    _lie(
        "layer_types longer than the model",
        "fused",
        config(layer_types=["full_attention"] * 6),
        r"layer_types",
    ),
    _lie(
        "RoPE factors for another head size",
        "fused",
        config(rope_scaling__short_factor=[1.0] * 32),
        r"short_factor",
    ),
    _lie(
        "an end token outside the vocabulary",
        "fused",
        json_of("generation_config.json", eos_token_id=[256, 128009]),
        r"eos_token_id",
    ),
    _lie(
        "the two files disagree about the end token",
        "fused",
        json_of("generation_config.json", eos_token_id=97),
        r"eos_token_id",
    ),
    _lie(
        "pad token outside the vocabulary",
        "hrm",
        config(pad_token_id=32000),
        r"pad_token_id 32000 is outside",
    ),
    _lie(
        "a letter as end token, in both files",
        "fused",
        both(config(eos_token_id=72), json_of("generation_config.json", eos_token_id=72)),
        r"end-token",
    ),
    _lie("float16 although the weights are bfloat16", "fused", config(torch_dtype="float16"), r"float16"),
    _lie("says int4, holds bfloat16", "fused", config(quantization_config=_INT4), r"quant"),
    _lie("a tokenizer with more tokens than the embedding", "fused", _added_token, r"token id 300"),
    _lie("config.json cut off", "fused", cut("config.json", 0.5), r"config\.json", witness="reader"),
    _lie("config.json missing", "fused", without("config.json"), r"config\.json", "verify-on-npu"),
    _lie(
        "config.json is a web page",
        "hrm",
        text("config.json", "<html>404</html>"),
        r"config\.json",
        witness="reader",
    ),
    _run("tokenizer.json cut off", "fused", cut("tokenizer.json", 0.5), r"tokenizer"),
    _run("another tokenizer of the same size", "fused", _swapped_letters, r"tokenizer", baseline=True),
    _run(
        "condition tokens missing from the tokenizer",
        "hrm",
        _without_token("<|quad_end|>"),
        r"condition tokens",
    ),
    _run("an activation that the engine lacks", "fused", config(hidden_act="gelu"), r"gelu|activation"),
    _run("prefix_lm switched off", "hrm", config(prefix_lm=False), _PARITY),
    _run("RoPE base of another family", "fused", config(rope_theta=500000.0), _PARITY, baseline=True),
    _run("norm epsilon a thousand times larger", "fused", config(rms_norm_eps=1e-2), _PARITY, baseline=True),
    known(
        "embedding scale of another family",
        "config",
        "hrm",
        config(embedding_scale=11.3),
        r"embedding_scale: 11\.3 is ruled out",
    ),
    known(
        "cycles and layer count both wrong",
        "config",
        "hrm",
        config(H_cycles=1, num_hidden_layers=8),
        r"H_cycles: 1 is ruled out",
    ),
    _run(
        "context stretched sixteenfold",
        "fused",
        config(max_position_embeddings=16384),
        _PARITY,
        baseline=True,
    ),
    _lie(
        "model_type of a family with the same tensors and a window",
        "fused",
        config(
            model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=16, rope_scaling=ABSENT
        ),
        _PARITY,
        "verify-on-npu",
        "behaviour",
        baseline=True,
    ),
)
