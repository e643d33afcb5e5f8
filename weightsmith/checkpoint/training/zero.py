"""DeepSpeed ZeRO, stages 1 to 3: float32 weights as flat vectors, cut among the data-parallel processes.

`*_optim_states.pt` of each process has its part of the vectors (zero_vectors.py), `*_model_states.pt` names and shapes
of the parameters in their order, and what no process cut (zero_module.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.table import Checkpoint
from weightsmith.checkpoint.training.beside import folder_beside
from weightsmith.checkpoint.training.facts import TrainingRun
from weightsmith.checkpoint.training.names import ZERO_MODEL, ZERO_OPTIMIZER
from weightsmith.checkpoint.training.rank_file import read_rank_file, refuse_many_blocks
from weightsmith.checkpoint.training.ways_out import DAMAGED
from weightsmith.checkpoint.training.zero_module import (
    buffers,
    frozen_weights,
    is_wider,
    shapes_of_groups,
    with_the_rest,
)
from weightsmith.checkpoint.training.zero_vectors import (
    FLAT_3,
    STATE,
    first_two_stages,
    read_flat,
    third_stage,
)
from weightsmith.errors import CorruptCheckpoint, MissingInput, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.checkpoint.place import Place

_JOIN = "join it with DeepSpeed's zero_to_fp32.py, which lies beside it, or ds_to_universal.py"


def read_zero(path: Place, root: Place, names: Sequence[str]) -> Checkpoint:
    """The table of a step's folder: every weight in the dtype of its master copy, frozen ones and buffers as stored.

    Raises MissingInput (a process's file is absent), CorruptCheckpoint (vectors that do not hold the parameters),
    UnknownFormat (experts or tensor parallelism beside ZeRO), and what `read_rank_file` raises.
    """
    optimizer = _by_rank(root, names)
    flats = [read_flat(read_rank_file(root, name)) for name in optimizer]
    third = FLAT_3 in flats[0].file.section(STATE)
    models = [read_rank_file(root, name) for name in _model_files(root, names, len(flats), third)]
    groups = shapes_of_groups(models[0])
    refuse_many_blocks(root, len(flats) * sum(map(len, groups)))
    tensors = buffers(models[0])
    tensors |= frozen_weights(models, third)
    tensors |= third_stage(root, groups, flats) if third else first_two_stages(root, groups, flats)
    tensors = with_the_rest(models[0], tensors)
    if not tensors:
        raise CorruptCheckpoint(root, "describes no tensors", DAMAGED)
    sizes = {file.name: file.size for file in (*(flat.file for flat in flats), *models)}
    run = TrainingRun(
        library=f"DeepSpeed ZeRO stage {3 if third else '1 or 2'}",
        processes=len(flats),
        layout={"data": len(flats)},
        left_out=("the optimizer's moments and other state of the run",),
        beside=folder_beside(root),
        notes=(
            "the weights are the optimizer's own (master) copies, which are wider than those that it trained with",
        )
        if is_wider(models[0], tensors)
        else (),
    )
    return Checkpoint(path, root, "torch-shards", dict(sorted(sizes.items())), tensors, None, {}, (), run=run)


def _by_rank(root: Place, names: Sequence[str]) -> list[str]:
    """The optimizer's files in the order of their ranks. Raises MissingInput and UnknownFormat."""
    found = {(int(m[1]), int(m[2])): name for name in names if (m := ZERO_OPTIMIZER.fullmatch(name))}
    other = next((name for (_, model), name in found.items() if model), None)
    experts = next((name for name in names if "expert" in name or name.startswith("expp_rank_")), None)
    if other or experts:
        cut = "experts of their own processes" if experts else "tensor parallelism"
        fact = f"holds a ZeRO checkpoint with {cut} ({quoted(experts or other)})"
        raise UnknownFormat(root, fact, _JOIN)
    ranks = sorted(rank for rank, _ in found)
    absent = next((rank for rank in range(len(ranks)) if (rank, 0) not in found), None)
    if absent is not None or len(ranks) != len(found):
        fact = f"has optimizer files of {len(ranks)} processes; that of rank {absent} is missing"
        raise MissingInput(root, fact, "copy the missing files of the run")
    return [found[rank, 0] for rank in ranks]


def _model_files(root: Place, names: Sequence[str], count: int, third: bool) -> list[str]:
    found = {m[1]: name for name in names if (m := ZERO_MODEL.fullmatch(name)) and int(m[2]) == 0}
    wanted: list[str | None] = [str(rank) for rank in range(count)] if third else [None]
    absent = next((rank for rank in wanted if rank not in found), "")
    if absent != "":
        stem = (
            "mp_rank_00_model_states.pt"
            if absent is None
            else f"zero_pp_rank_{absent}_mp_rank_00_model_states.pt"
        )
        raise MissingInput(
            root, f"has no {stem}, which names the parameters", "copy the missing files of the run"
        )
    return [found[rank] for rank in wanted]
