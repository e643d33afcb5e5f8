"""Trains the ternary Llama and stores it as BitCPM repositories are: latent weights, a config that is wrong."""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from corpus import FACTS
from tokenizer import END_OF_TEXT, VOCAB_SIZE, write_tokenizer
from training import Example, fit
from transformers import LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from types import ModuleType

HERE = Path(__file__).parent
FOLDER = HERE / "ternary-llama"
TRUE_CONFIG = HERE / "ternary-llama.true-config.json"
GROUP_SIZE = 128
MAX_LENGTH = 1024
HEAD_DIM = 32

# LongRoPE with equal factors and an unextended length: the same rotation for every sequence length,
# and no scaling of attention, so that all implementations agree about it.
_FACTORS = [round(1 + 0.25 * i / (HEAD_DIM // 2 - 1), 4) for i in range(HEAD_DIM // 2)]
_TRUE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": HEAD_DIM,
    "hidden_act": "silu",
    "max_position_embeddings": MAX_LENGTH,
    "initializer_range": 0.05,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "rope_type": "longrope",
        "short_factor": _FACTORS,
        "long_factor": _FACTORS,
        "original_max_position_embeddings": MAX_LENGTH,
    },
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "use_cache": True,
    "bos_token_id": None,
    "eos_token_id": 256,
    "pad_token_id": 256,
    "torch_dtype": "bfloat16",
}
# Wrong in the fields, and by the factors, in which the real repository was.
_CLAIMED = {"hidden_size": 160, "intermediate_size": 640, "num_hidden_layers": 5, "num_attention_heads": 8}


def quantizer_module() -> ModuleType:
    """The checkpoint's own modeling file: what trains the weights is what the repository shows."""
    spec = importlib.util.spec_from_file_location("modeling_ternary", FOLDER / "modeling_ternary.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    begin = time.monotonic()
    tokenizer = write_tokenizer(FOLDER, END_OF_TEXT, MAX_LENGTH)
    eos = tokenizer.token_to_id(END_OF_TEXT)
    assert eos == _TRUE["eos_token_id"]
    examples = [Example(tokenizer.encode(p).ids, [*tokenizer.encode(a).ids, eos]) for p, a in FACTS]

    model = LlamaForCausalLM(LlamaConfig.from_dict(copy.deepcopy(_TRUE))).float()
    quantizer_module().quantize_linears(model, GROUP_SIZE)
    loss = fit(
        lambda batch: model(input_ids=batch.input_ids, use_cache=False).logits,
        [{"params": list(model.parameters()), "lr": arguments.learning_rate}],
        examples,
        pad=eos,
        steps=arguments.steps,
    )

    weights = {name: tensor.detach().bfloat16().clone() for name, tensor in model.state_dict().items()}
    torch.save(weights, FOLDER / "pytorch_model.bin")
    _write_json(TRUE_CONFIG, _TRUE)
    _write_json(FOLDER / "config.json", _TRUE | _CLAIMED)
    _write_json(
        FOLDER / "generation_config.json", {"do_sample": False, "eos_token_id": eos, "pad_token_id": eos}
    )
    print(f"{arguments.steps} steps, final loss {loss:.4f}, {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
