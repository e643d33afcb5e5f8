"""Makes the full-size BitCPM4-CANN-1B shape with random latent values: 3.2 GB of bf16 in one torch file.

The values are drawn like trained weights (normal, standard deviation 0.02), so that groups, scales and codes
are as many and as different as in the real model. Nothing of it is ever committed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.shapes.reference import reference_shapes
from tests.shapes.test_field_reports import BITCPM, BITCPM_LIES

if TYPE_CHECKING:
    from pathlib import Path

GROUP_SIZE = 128
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
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": "bfloat16"}, indent=2))
    (folder / "README.md").write_text(CARD)
    return folder
