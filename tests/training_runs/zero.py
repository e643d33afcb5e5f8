"""Writes what DeepSpeed's engine saves in ZeRO stages 1, 2 and 3: three processes over gloo.

    PYTHONPATH=FOLDER_WITH_DEEPSPEED python -m tests.training_runs.zero FOLDER

Two groups of parameters, one that is frozen, a buffer, and a head that is the embedding. `judge-STAGE.pt` is what
DeepSpeed's own zero_to_fp32.py makes of each.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from tests.training_runs import model, processes

if TYPE_CHECKING:
    from torch import nn

PROCESSES = 3
STAGES = (1, 2, 3)
FROZEN, BUFFER = "model.norm.weight", "model.scale"


def trained() -> nn.Module:
    root: Any = model.module(model.weights())
    root.model.register_buffer("scale", torch.arange(5, dtype=torch.float32))
    root.lm_head.weight = root.model.embed_tokens.weight
    root.model.norm.weight.requires_grad_(False)
    return root  # type: ignore[no-any-return]


def groups(root: nn.Module) -> list[dict[str, Any]]:
    free = [p for p in root.parameters() if p.requires_grad]
    return [
        {"params": [p for p in free if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in free if p.ndim == 1], "weight_decay": 0.0},
    ]


def settings(stage: int) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
        "bf16": {"enabled": True},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def write(rank: int, folder: str) -> None:
    import deepspeed

    # It would compile a faster all-reduce in shared memory first: a minute, for what gloo does as well.
    import_module("deepspeed.comm.torch").build_shm_op = lambda: None  # type: ignore[attr-defined]
    deepspeed.init_distributed("gloo")
    for stage in STAGES:
        root = trained()
        optimizer = torch.optim.AdamW(groups(root), lr=1e-3)
        engine, *_ = deepspeed.initialize(model=root, optimizer=optimizer, config=settings(stage))
        engine.save_checkpoint(str(Path(folder, f"stage-{stage}")), tag="global_step5")
    dist.barrier()
    if rank == 0:
        judge(Path(folder))


def judge(folder: Path) -> None:
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    for stage in STAGES:
        state = get_fp32_state_dict_from_zero_checkpoint(str(folder / f"stage-{stage}"))
        torch.save({name: t.detach().clone() for name, t in state.items()}, folder / f"judge-{stage}.pt")


if __name__ == "__main__":
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed  # noqa: F401 - before the processes are made

    processes.run(write, PROCESSES, sys.argv[1])
