"""Makes checkpoints of full size: BitCPM4-CANN-1B (3.2 GB, one torch file), and Llama 3.1 8B or a part of its layers.

The values are drawn like trained weights (normal, standard deviation 0.02), so that groups, scales and codes
are as many and as different as in the real model. Nothing of it is ever committed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from tests.shapes.reference import reference_shapes
from tests.shapes.test_field_reports import BITCPM, BITCPM_LIES
from weightsmith.convert.plan.header import lay_out
from weightsmith.convert.plan.shards import index, split
from weightsmith.convert.protocol import Output

if TYPE_CHECKING:
    from pathlib import Path

GROUP_SIZE = 128
# https://huggingface.co/meta-llama/Llama-3.1-8B/blob/main/config.json: 16.06 GB with its 32 layers, 8.2 with 14.
LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
CARD = f"---\ntags: [ternary]\n---\nTernary QAT weights, group_size={GROUP_SIZE}.\n"


def write_latent(folder: Path, seed: int = 0) -> Path:
    """The `pytorch_model.bin` with its lying config and a card; returns the folder."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.ones(shape, dtype=torch.bfloat16)
        if len(shape) == 1
        else torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)
        for name, shape in reference_shapes("llama", BITCPM).items()
    }
    torch.save(state, folder / "pytorch_model.bin")
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **BITCPM, **BITCPM_LIES}
    _describe(folder, config)
    return folder


def write_fp8(folder: Path, seed: int = 0) -> Path:
    """The same shapes in shards of 1 GB, linear layers as DeepSeek stores them: FP8 in blocks; returns the folder."""
    import torch
    from huggingface_hub import save_torch_state_dict

    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    for name, shape in reference_shapes("llama", BITCPM).items():
        drawn = torch.empty(shape, dtype=torch.bfloat16).normal_(generator=generator)
        if name.endswith("_proj.weight"):
            blocks = [-(-size // GROUP_SIZE) for size in shape]
            state[f"{name}_scale_inv"] = torch.empty(blocks).uniform_(1e-4, 1e-3, generator=generator)
            drawn = (drawn * 100).clamp_(-448, 448).to(torch.float8_e4m3fn)
        state[name] = drawn
    folder.mkdir(parents=True)
    save_torch_state_dict(state, folder, max_shard_size="1GB")
    section = {"quant_method": "fp8", "weight_block_size": [GROUP_SIZE, GROUP_SIZE], "fmt": "e4m3"}
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **BITCPM}
    _describe(folder, {**config, "quantization_config": section})
    return folder


def write_sharded(folder: Path, layers: int, shard_bytes: int, data: bool = True) -> Path:
    """Llama 3.1 8B with so many layers in safetensors shards; returns the folder.

    The random numbers of all tensors come from one block of 64 MB, taken from another place for each. Without
    `data` the files are sparse: zeros that take no disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {**LLAMA_8B, "num_hidden_layers": layers}
    outputs = [Output(name, "BF16", shape) for name, shape in reference_shapes("llama", config).items()]
    shards = split(outputs, shard_bytes)
    block = (np.random.default_rng(0).standard_normal(1 << 25, np.float32) * np.float32(0.02)).view(np.uint32)
    patterns = (block >> np.uint32(16)).astype(np.uint16).view(np.uint8)
    for file, held in shards.items():
        layout = lay_out(held)
        with (folder / file).open("wb") as opened:
            opened.write(layout.header)
            while data and opened.tell() < layout.nbytes:
                start = opened.tell() // 7 % 1024 * 2
                opened.write(patterns[start : start + layout.nbytes - opened.tell()].data)
            opened.truncate(layout.nbytes)
    written = index(shards)
    if written is not None:
        (folder / "model.safetensors.index.json").write_bytes(written)
    _describe(folder, {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **config})
    return folder


def _describe(folder: Path, config: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": "bfloat16"}, indent=2))
    (folder / "README.md").write_text(CARD)
