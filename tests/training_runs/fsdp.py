"""Writes runs of torch's FSDP2 and tensor parallelism, four processes over gloo: distributed checkpoints, and verl's
files of one process each.

    python -m tests.training_runs.fsdp FOLDER

Layouts: accelerate (utils/fsdp_utils.py, SHARDED_STATE_DICT), torchtitan (components/checkpoint.py: flat names of the
model beside `optimizer` and `train_state`), verl (utils/checkpoint/fsdp_checkpoint_manager.py).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    ShardedStateDictConfig,
    StateDictType,
    fully_shard,
)
from torch.distributed.tensor import Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from tests.training_runs import model, processes

if TYPE_CHECKING:
    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh

PROCESSES = 4
COLUMNS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
ROWS = ("self_attn.o_proj", "mlp.down_proj")


def sharded(mesh: DeviceMesh, seed: int = 7) -> nn.Module:
    """The model under FSDP2 on a mesh ("data",), ("copy", "data") or ("data", "tensor")."""
    root = model.module(model.weights(seed))
    names = mesh.mesh_dim_names or ()
    if "tensor" in names:
        plan: dict[str, Any] = {f"model.layers.*.{name}": ColwiseParallel() for name in COLUMNS}
        plan |= {f"model.layers.*.{name}": RowwiseParallel() for name in ROWS}
        plan["lm_head"] = ColwiseParallel(output_layouts=Shard(-1))
        plan["model.embed_tokens"] = RowwiseParallel()
        parallelize_module(root, mesh["tensor"], plan)
    across = mesh["copy", "data"] if "copy" in names else mesh["data"]
    for layer in root.model.layers.children():  # type: ignore[union-attr, operator]
        fully_shard(layer, mesh=across)
    fully_shard(root, mesh=across)
    return root


def trained(root: nn.Module) -> torch.optim.Optimizer:
    """An optimizer after a step that moved nothing: its states are there, and larger than the weights."""
    optimizer = torch.optim.AdamW(root.parameters(), lr=0.0, weight_decay=0.0)
    for parameter in root.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def first_generation(mesh: DeviceMesh | None) -> dict[str, Any]:
    """What FSDP 1 gives: DTensors on a mesh of devices, else ShardedTensors."""
    where = {} if mesh is None else {"device_mesh": mesh}
    root = FullyShardedDataParallel(model.module(model.weights()), device_id=torch.device("cpu"), **where)
    how = ShardedStateDictConfig(offload_to_cpu=True)
    with FullyShardedDataParallel.state_dict_type(root, StateDictType.SHARDED_STATE_DICT, how):
        return root.state_dict()


def verl(root: nn.Module, folder: Path, rank: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    of = f"world_size_{PROCESSES}_rank_{rank}.pt"
    torch.save(root.state_dict(), folder / f"model_{of}")
    torch.save(trained(root).state_dict(), folder / f"optim_{of}")
    torch.save(
        {"lr_scheduler": {"last_epoch": 1}, "rng": torch.get_rng_state()}, folder / f"extra_state_{of}"
    )
    if rank == 0:
        (folder / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": PROCESSES}))
        (folder / "huggingface").mkdir(exist_ok=True)
        (folder / "huggingface/config.json").write_text(json.dumps(model.CONFIG))
        (folder / "huggingface/generation_config.json").write_text(json.dumps({"temperature": 0.6}))


def write(rank: int, target: str) -> None:
    folder = Path(target)
    flat = init_device_mesh("cpu", (4,), mesh_dim_names=("data",))
    hybrid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("copy", "data"))
    square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))

    root = sharded(flat)
    optimizer = trained(root)
    dcp.save({"model": root.state_dict()}, checkpoint_id=folder / "accelerate/pytorch_model_fsdp_0")
    states = get_optimizer_state_dict(root, optimizer)
    dcp.save({"optimizer": states}, checkpoint_id=folder / "accelerate/optimizer_0")
    verl(root, folder / "verl/global_step_10/actor", rank)

    root = sharded(square)
    average = sharded(square, seed=8)
    state = {
        "optimizer": get_optimizer_state_dict(root, trained(root)),
        "train_state": {"step": torch.tensor(7)},
    }
    dcp.save({**root.state_dict(), **state}, checkpoint_id=folder / "mesh")
    state |= {"model": root.state_dict(), "ema": average.state_dict()}
    dcp.save(state, checkpoint_id=folder / "averaged")
    verl(root, folder / "verl-mesh/actor", rank)
    verl(sharded(hybrid), folder / "verl-hybrid/actor", rank)
    for name, mesh in (("verl-first", flat), ("verl-without-mesh", None)):
        at = folder / name / "actor"
        at.mkdir(parents=True, exist_ok=True)
        torch.save(first_generation(mesh), at / f"model_world_size_{PROCESSES}_rank_{rank}.pt")


if __name__ == "__main__":
    processes.run(write, PROCESSES, sys.argv[1])
