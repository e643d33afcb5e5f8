"""Starts the processes of a small run on this machine, joined by gloo."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.multiprocessing

if TYPE_CHECKING:
    from collections.abc import Callable


def run(work: Callable[..., None], count: int, *arguments: Any) -> None:
    """Calls work(rank, …) in so many processes. They are forked: what the caller has imported is there at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(
        _in_process, (work, count, port, arguments), nprocs=count, start_method="fork"
    )


def _in_process(
    rank: int, work: Callable[..., None], count: int, port: int, arguments: tuple[Any, ...]
) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=count)
    work(rank, *arguments)
    dist.barrier()
    dist.destroy_process_group()
