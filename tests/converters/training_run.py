"""Writes what a training run of Sapient's HRM-Text leaves, with torch's own FSDP2 and distributed checkpoint.

    python -m tests.converters.training_run RELEASED_MODEL FOLDER [PROCESSES]

The averages are the released weights, the last step's weights are twice those: whoever takes the wrong ones
is found out. Module names and saved state: pretrain.py and models/ of sapientinc/HRM-Text.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import yaml
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.fsdp import fully_shard

from tests.training_runs.model import place_of

TRAINED = (
    ("model.H_module.layers.", "model.H_level.core.layers."),
    ("model.L_module.layers.", "model.L_level.core.layers."),
    ("model.z_L_init", "model.zL_init"),
    ("model.embed_tokens.weight", "embed_tokens.embedding_weight"),
)
BUFFER = "model.zL_init"


def trained_name(released: str) -> str:
    for old, new in TRAINED:
        released = released.replace(old, new)
    return released


class Averaging(torch.optim.Optimizer):
    """Keeps, like AdamATan2 with `ema`, an average beside each parameter."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": torch.tensor(0.0), "betas": (0.9, 0.95), "ema": 0.5})
        for p in self.param_groups[0]["params"]:
            average = torch.empty_like(p).copy_(p / 2)
            self.state[p] = {"step": torch.tensor(1.0), "exp_avg": torch.zeros_like(p), "param_ema": average}

    def step(self, closure: Any = None) -> None:  # the states exist: nobody trains here
        raise NotImplementedError


def module_of(weights: dict[str, torch.Tensor]) -> nn.Module:
    root = nn.Module()
    for name, value in weights.items():
        *path, leaf = name.split(".")
        place = place_of(root, path)
        if name == BUFFER:
            place.register_buffer(leaf, value)
        else:
            place.register_parameter(leaf, nn.Parameter(2 * value.float()))
    return root


def write(rank: int, processes: int, port: int, released: str, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    weights = {trained_name(n): w for n, w in load_file(Path(released, "model.safetensors")).items()}
    model = module_of(weights)
    fully_shard(model)
    optimizer = Averaging(model.parameters())
    state = {"model": model.state_dict(), "optim": get_optimizer_state_dict(model, optimizer)}
    dcp.save(state, checkpoint_id=Path(folder, "fsdp2_epoch_2"))
    if rank == 0:
        torch.save(None, Path(folder, "carry_epoch_2.0.pt"))
    dist.destroy_process_group()


def describe(folder: Path) -> None:
    arch = {
        "name": "baselines.hrm_nocarry_bp_warmup@HierarchicalReasoningModel",
        "head": "lm_head@LMHead",
        "half_layers": True,
        "n_layers": 4,  # of both stacks together
        "hidden_size": 128,
        "num_heads": 4,
        "expansion": 4,
        "H_cycles": 2,
        "L_cycles": 3,
        "norm_type": "pre",
        "norm_eps": 1e-6,
        "pos_emb_type": "rope",
        "rope_theta": 10000.0,
        "init_type": "fixed_normal",
    }
    config = {"arch": arch, "data": {"path": "data", "target_only": True}, "fwd_bwd_dtype": "bfloat16"}
    info = {"tokenizer_path": "/somewhere/else", "boq": "<|im_start|>", "eoa": "<|box_end|>"}
    metadata = {"tokenizer_info": info, "vocab_size": 264, "max_seq_len": 1024, "total_length": 1}
    (folder / "all_config.yaml").write_text(yaml.dump(config))
    (folder / "train_metadata.yaml").write_text(yaml.dump(metadata))


def main(released: str, folder: str, processes: int = 2) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    describe(Path(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(write, (processes, port, released, folder), nprocs=processes)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
