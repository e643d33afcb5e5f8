"""A torch file of each process, as verl saves FSDP runs: every tensor as a DTensor, which states how it is cut.

`model_world_size_N_rank_R.pt`, in `huggingface/` beside them config and tokenizer.
Source: verl (utils/checkpoint/fsdp_checkpoint_manager.py). What a DTensor means: torch/distributed/tensor.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.names import check_name, quoted, sample
from weightsmith.checkpoint.table import Checkpoint
from weightsmith.checkpoint.tiling import tiled
from weightsmith.checkpoint.torch_objects import TensorRef
from weightsmith.checkpoint.training.beside import folder_beside
from weightsmith.checkpoint.training.facts import TrainingRun
from weightsmith.checkpoint.training.names import RANK_FILE, RANK_STATE
from weightsmith.checkpoint.training.objects import ShardRef
from weightsmith.checkpoint.training.rank_file import read_rank_file, refuse_many_blocks
from weightsmith.checkpoint.training.ways_out import DAMAGED
from weightsmith.errors import CorruptCheckpoint, MissingInput, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.objects import Placement
    from weightsmith.checkpoint.training.rank_file import RankFile


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process held of a tensor. A tensor that nobody cut has neither placements nor a coordinate."""

    local: Tensor
    shape: tuple[int, ...]
    placements: tuple[Placement, ...] = ()
    coordinate: tuple[int, ...] = ()


def read_rank_shards(path: Place, root: Place, names: Sequence[str]) -> Checkpoint:
    """The table of the folder `root` with the files `names`.

    Raises MissingInput (a process's file is absent), CorruptCheckpoint (parts that make no whole), UnknownFormat
    (placements that are not known), and what `read_rank_file` raises.
    """
    files = _files_of_ranks(root, names)
    parts: dict[str, list[_Part]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for name in files:
        file = read_rank_file(root, name)
        sizes[name] = file.size
        for tensor, part in _parts(file):
            parts[tensor].append(part)
        refuse_many_blocks(root, sum(map(len, parts.values())))
    if not parts:
        raise CorruptCheckpoint(root, "describes no tensors", DAMAGED)
    tensors: dict[str, Tensor] = {}
    copies: dict[str, tuple[Tensor, ...]] = {}
    for name, found in parts.items():
        if len(found) != len(files):
            fact = f"has the tensor {quoted(name)} in {len(found)} of {len(files)} files"
            raise CorruptCheckpoint(root, fact, DAMAGED)
        tensors[name], others = _assembled(root, name, found)
        if others:
            copies[name] = others
    state = tuple(name for name in names if RANK_STATE.fullmatch(name))
    run = TrainingRun(
        library="FSDP (one file a process)",
        processes=len(files),
        layout=_layout(parts),
        left_out=(f"{len(state)} files with optimizer and other state ({sample(list(state), 2)})",)
        if state
        else (),
        beside=folder_beside(root),
    )
    return Checkpoint(path, root, "torch-shards", sizes, tensors, None, {}, (), run=run, copies=copies)


def _files_of_ranks(root: Place, names: Sequence[str]) -> list[str]:
    """The files in the order of their ranks. Raises MissingInput, and UnknownFormat for those of two runs."""
    found = {(int(m[1]), int(m[2])): name for name in names if (m := RANK_FILE.fullmatch(name))}
    worlds = sorted({world for world, _ in found})
    if len(worlds) > 1:
        fact = f"holds files of runs of {' and '.join(map(str, worlds))} processes"
        raise UnknownFormat(root, fact, "remove those that are not meant")
    (world,) = worlds
    # Walks the files that are there: the number of processes is only a name.
    absent = next(
        (rank for rank in range(len(found) + 1) if rank < world and (world, rank) not in found), None
    )
    if absent is not None:
        fact = f"has the files of {len(found)} of {world} processes; that of rank {absent} is missing"
        raise MissingInput(root, fact, "copy the missing files of the run")
    return [found[world, rank] for rank in range(world)]


def _parts(file: RankFile) -> list[tuple[str, _Part]]:
    """The tensors of one file: DTensors, and plain ones that every process held whole (buffers)."""
    found = []
    for name, value in file.content.items():
        check_name(file.subject, name)
        if isinstance(value, ShardRef):
            local = file.tensor(name, value.local)
            found.append((name, _Part(local, value.shape, value.placements, value.coordinate)))
        elif isinstance(value, TensorRef):
            local = file.tensor(name, value)
            found.append((name, _Part(local, local.shape)))
    return found


def _assembled(root: Place, name: str, parts: Sequence[_Part]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(the tensor, its copies): copies are what further processes held of the same parts."""
    first = parts[0]
    if any((part.shape, part.placements) != (first.shape, first.placements) for part in parts):
        _refuse(root, name, "is described in two ways")
    if any(len(part.local.shape) != len(first.shape) for part in parts):
        _refuse(root, name, "has parts with another number of axes")
    order = _order_of_cuts(root, name, parts)
    cutting = sorted(axis for axes in order.values() for axis in axes)
    held: dict[tuple[int, ...], list[_Part]] = defaultdict(list)
    for part in parts:
        held[tuple(part.coordinate[axis] for axis in cutting)].append(part)
    starts = {dim: _starts(root, name, dim, axes, parts) for dim, axes in order.items()}
    rounds = max(map(len, held.values()))
    if any(len(same) != rounds for same in held.values()):
        _refuse(root, name, "has parts that some processes hold twice, and others do not")
    whole = []
    for number in range(rounds):
        blocks = [_block(same[number], order, starts) for same in held.values()]
        try:
            whole.append(tiled(name, blocks[0].dtype, first.shape, blocks))
        except ValueError as error:
            _refuse(root, name, f"has parts that do not make up its {list(first.shape)}: {error}")
    return whole[0], tuple(whole[1:])


def _block(
    part: _Part, order: Mapping[int, Sequence[int]], starts: Mapping[int, Mapping[tuple[int, ...], int]]
) -> Tensor:
    corner = tuple(
        starts[dim][tuple(part.coordinate[axis] for axis in order[dim])] if dim in order else 0
        for dim in range(len(part.shape))
    )
    return replace(part.local, corner=corner)


def _order_of_cuts(root: Place, name: str, parts: Sequence[_Part]) -> dict[int, list[int]]:
    """Axis of the tensor -> axes of the mesh that cut it, the outermost first.

    A mesh cuts from its first axis on. Only a strided cut comes behind those that stand after it: FSDP wraps what
    tensor parallelism has cut before. Its factor is the number of pieces that were there then.
    """
    placements = parts[0].placements
    sizes = [1 + max(part.coordinate[axis] for part in parts) for axis in range(len(placements))]
    order: dict[int, list[int]] = {}
    for kind in ("shard", "strided"):
        for axis, placement in enumerate(placements):
            if placement.kind == kind:
                order.setdefault(placement.dim, []).append(axis)
    for axis, placement in enumerate(placements):
        before = 1
        for later in range(axis + 1, len(placements)):
            if placements[later].kind == "shard" and placements[later].dim == placement.dim:
                before *= sizes[later]
        if placement.kind == "strided" and placement.factor != before:
            fact = f"cuts {quoted(name)} in strides of {placement.factor}, where its mesh has {before}"
            raise UnknownFormat(root, fact, "save it again as torch.distributed.checkpoint")
    return order


def _starts(
    root: Place, name: str, dim: int, axes: Sequence[int], parts: Sequence[_Part]
) -> dict[tuple[int, ...], int]:
    """Coordinate on these axes of the mesh -> where its part begins along the tensor's axis: behind all before it."""
    sizes: dict[tuple[int, ...], int] = {}
    for part in parts:
        size = part.local.shape[dim]
        if sizes.setdefault(tuple(part.coordinate[axis] for axis in axes), size) != size:
            _refuse(root, name, f"has parts of different sizes at one place along axis {dim}")
    starts, begin = {}, 0
    for place in sorted(sizes):
        starts[place] = begin
        begin += sizes[place]
    return starts


def _layout(parts: Mapping[str, Sequence[_Part]]) -> dict[str, int]:
    """Degree of each axis of the mesh that cuts some tensor, and of those along which all are the same."""
    layout: dict[str, int] = {}
    widest = max(parts.values(), key=lambda found: len(found[0].placements))
    for axis in range(len(widest[0].placements)):
        cut = any(
            len(found[0].placements) > axis and found[0].placements[axis].kind != "replicate"
            for found in parts.values()
        )
        degree = 1 + max(part.coordinate[axis] for part in widest)
        kind = "shards" if cut else "copies"
        layout[kind] = layout.get(kind, 1) * degree
    return layout


def _refuse(root: Place, name: str, fact: str) -> NoReturn:
    raise CorruptCheckpoint(root, f"the tensor {quoted(name)} {fact}", DAMAGED)
