"""DeepSpeed ZeRO, stages 1 to 3: float32 weights as flat vectors, cut among the data-parallel processes.

`*_optim_states.pt` of each process holds its part of the flat vectors, `*_model_states.pt` names and shapes of the
parameters in their order, and what was frozen. In stages 1 and 2 the parts of a group make one vector, parameters
follow each other in it. In stage 3 every parameter is cut by itself: each process has ceil(n / processes) elements.
Sources: deepspeed/utils/zero_to_fp32.py, runtime/zero/stage_1_and_2.py and stage3.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from weightsmith.checkpoint.layout import shape_fault
from weightsmith.checkpoint.names import check_name, quoted
from weightsmith.checkpoint.pickle_state import Inert
from weightsmith.checkpoint.table import Checkpoint
from weightsmith.checkpoint.tiling import rows_of, unflattened
from weightsmith.checkpoint.torch_objects import TensorRef
from weightsmith.checkpoint.training.beside import folder_beside
from weightsmith.checkpoint.training.facts import TrainingRun
from weightsmith.checkpoint.training.names import ZERO_MODEL, ZERO_OPTIMIZER
from weightsmith.checkpoint.training.rank_file import read_rank_file, refuse_many_blocks
from weightsmith.errors import CorruptCheckpoint, MissingInput, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.rank_file import RankFile

Shapes: TypeAlias = "dict[str, tuple[int, ...]]"
_STATE, _FLAT, _FLAT_3 = "optimizer_state_dict", "single_partition_of_fp32_groups", "fp32_flat_groups"
_ADDRESS = "deepspeed.utils.tensor_fragment.fragment_address"
_DAMAGED = "the checkpoint is damaged, or of several steps; copy it again from the training run"
_JOIN = "join it with DeepSpeed's zero_to_fp32.py, which lies beside it, or ds_to_universal.py"


@dataclass(frozen=True, slots=True)
class _Flat:
    """The part of one process: its vectors, one for each group; where parameters begin in them, if it states that."""

    file: RankFile
    vectors: tuple[Tensor, ...]


def read_zero(path: Place, root: Place, names: Sequence[str]) -> Checkpoint:
    """The table of a step's folder: every weight in the dtype of its master copy, frozen ones and buffers as stored.

    Raises MissingInput (a process's file is absent), CorruptCheckpoint (vectors that do not hold the parameters),
    UnknownFormat (experts or tensor parallelism beside ZeRO), and what `read_rank_file` raises.
    """
    optimizer = _by_rank(root, names)
    flats = [_flat(read_rank_file(root, name)) for name in optimizer]
    third = _FLAT_3 in flats[0].file.section(_STATE)
    models = [read_rank_file(root, name) for name in _model_files(root, names, len(flats), third)]
    groups = _shapes_of_groups(models[0])
    refuse_many_blocks(root, len(flats) * sum(map(len, groups)))
    tensors = _buffers(models[0])
    tensors |= _frozen(models, third)
    tensors |= _third(root, groups, flats) if third else _first_two(root, groups, flats)
    tensors = _with_the_rest(models[0], tensors)
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
        if _wider(models[0], tensors)
        else (),
    )
    return Checkpoint(path, root, "torch-shards", dict(sorted(sizes.items())), tensors, None, {}, (), run=run)


def _with_the_rest(model: RankFile, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of the module, in its order: shared ones, and what ZeRO itself leaves to the module.

    DeepSpeed lists frozen parameters in stages 2 and 3 only (runtime/engine.py, `save_frozen_param`): in stage 1 they
    are in the module's own state alone, and its zero_to_fp32.py loses them.
    """
    found = dict(tensors)
    for alias, name in model.section("shared_params").items():
        if isinstance(name, str) and name in found:
            check_name(model.subject, alias)
            found[alias] = replace(found[name], name=alias)
    module = model.section("module")
    for name, ref in module.items():
        if name not in found and isinstance(ref, TensorRef):
            check_name(model.subject, name)
            found[name] = model.tensor(name, ref)
            if not found[name].elements:
                _refuse(model.subject, f"names {quoted(name)}, whose values are in none of the files")
    order = {name: number for number, name in enumerate(module)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


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


def _flat(file: RankFile) -> _Flat:
    state = file.section(_STATE)
    groups = state.get(_FLAT_3, state.get(_FLAT))
    if not isinstance(groups, list):
        _refuse(file.subject, "holds no flat float32 weights")
    # Stage 3 keeps a list of sub-groups, or a list of one flat vector.
    vectors = [part for group in groups for part in (group if isinstance(group, list) else [group])]
    if not vectors or not all(isinstance(v, TensorRef) and len(v.shape) == 1 for v in vectors):
        _refuse(file.subject, "holds flat weights that are no vectors")
    return _Flat(file, tuple(file.tensor(f"group {n}", v) for n, v in enumerate(vectors)))


def _shapes_of_groups(file: RankFile) -> list[Shapes]:
    """Name -> shape in the order of the flat vectors, for each group of parameters."""
    groups = file.content.get("param_shapes")
    if not isinstance(groups, list) or not groups:
        _refuse(file.subject, "does not say which parameters the flat weights hold")
    return [_shapes(file, group) for group in groups]


def _shapes(file: RankFile, group: object) -> Shapes:
    if not isinstance(group, dict):
        _refuse(file.subject, "describes a group of parameters by something other than names and shapes")
    for name, shape in group.items():
        check_name(file.subject, name)
        fault = shape_fault(shape)
        if fault:
            _refuse(file.subject, f"describes {quoted(name)} wrongly: {fault}")
    return {name: tuple(shape) for name, shape in group.items()}


def _first_two(root: Place, groups: Sequence[Shapes], flats: Sequence[_Flat]) -> dict[str, Tensor]:
    """Stages 1 and 2: of each group one vector, the parts of the processes in order."""
    paddings = flats[0].file.section(_STATE).get("param_alignment_paddings")
    if any(len(flat.vectors) != len(groups) for flat in flats):
        _refuse(root, f"describes {len(groups)} groups of parameters, and has other numbers of flat vectors")
    tensors: dict[str, Tensor] = {}
    for number, shapes in enumerate(groups):
        parts = [flat.vectors[number] for flat in flats]
        gaps = paddings[number] if isinstance(paddings, list) and len(paddings) == len(groups) else None
        if not isinstance(gaps, list) or len(gaps) != len(shapes):
            gaps = [0] * len(shapes)
        begin = 0
        for (name, shape), gap in zip(shapes.items(), gaps, strict=True):
            tensors[name] = _whole(root, name, shape, _cut(parts, begin, begin + prod(shape)))
            _agree(flats, number, name, begin, prod(shape))
            begin += prod(shape) + (gap if type(gap) is int and gap > 0 else 0)
        # DeepSpeed fills up the vector to a multiple of twice the number of processes.
        held, unit = sum(part.shape[0] for part in parts), 2 * len(flats)
        if -(-begin // unit) != -(-held // unit):
            _refuse(
                root, f"has flat weights of {held:,} elements in a group, of which parameters take {begin:,}"
            )
    return tensors


def _agree(flats: Sequence[_Flat], group: int, name: str, begin: int, count: int) -> None:
    """Raises CorruptCheckpoint where a process states another place for its part than the order gives."""
    first = 0
    for flat in flats:
        size = flat.vectors[group].shape[0]
        start, stop = max(begin - first, 0), min(begin + count - first, size)
        stated = _stated(flat.file, group, name)
        if stated is not None and start < stop and stated != (start, stop - start):
            derived = f"{stop - start:,} at {start:,}"
            fact = f"states {stated[1]:,} elements of {quoted(name)} at {stated[0]:,}, not {derived}"
            _refuse(flat.file.subject, fact)
        first += size


def _stated(file: RankFile, group: int, name: str) -> tuple[int, int] | None:
    """(first element, elements) of a parameter in a process's vector, where newer files have a list of them."""
    mappings = file.section(_STATE).get("param_slice_mappings")
    mapping = mappings[group] if isinstance(mappings, list) and group < len(mappings) else None
    found = mapping.get(name) if isinstance(mapping, dict) else None
    fields = found.state if isinstance(found, Inert) and found.name == _ADDRESS else None
    if not isinstance(fields, dict):
        return None
    start, count = fields.get("start"), fields.get("numel")
    return (start, count) if type(start) is int and type(count) is int else None


def _third(root: Place, groups: Sequence[Shapes], flats: Sequence[_Flat]) -> dict[str, Tensor]:
    """Stage 3: each process has the same share of each parameter, the last ones filled up."""
    tensors: dict[str, Tensor] = {}
    begin = 0
    for name, shape in [item for shapes in groups for item in shapes.items()]:
        share = -(-prod(shape) // len(flats))
        runs = [run for flat in flats for run in _cut(flat.vectors, begin, begin + share)]
        tensors[name] = _whole(root, name, shape, _cut(runs, 0, prod(shape)))
        begin += share
    held = {sum(vector.shape[0] for vector in flat.vectors) for flat in flats}
    if held != {begin}:
        shown = " and ".join(f"{count:,}" for count in sorted(held))
        _refuse(
            root, f"has flat weights of {shown} elements in a process, of which parameters take {begin:,}"
        )
    return tensors


def _cut(vectors: Sequence[Tensor], start: int, stop: int) -> list[Tensor]:
    """Elements start:stop of vectors that follow each other, as far as they reach."""
    found, first = [], 0
    for vector in vectors:
        size = vector.shape[0]
        begin, end = max(start - first, 0), min(stop - first, size)
        if begin < end:
            found.append(rows_of(vector, begin, end))
        first += size
    return found


def _whole(root: object, name: str, shape: tuple[int, ...], runs: list[Tensor]) -> Tensor:
    if not runs:
        _refuse(root, f"has no elements of {quoted(name)}")
    try:
        return unflattened(name, shape, runs)
    except ValueError as error:
        _refuse(root, f"does not hold all of {quoted(name)}: {error}")


def _frozen(models: Sequence[RankFile], third: bool) -> dict[str, Tensor]:
    """Parameters that were not trained: whole in stages 1 and 2, in equal shares in stage 3."""
    found = models[0].content.get("frozen_param_shapes")
    shapes = _shapes(models[0], found) if isinstance(found, dict) else {}
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        parts = []
        for file in models:
            ref = file.section("frozen_param_fragments").get(name)
            if not isinstance(ref, TensorRef):
                _refuse(file.subject, f"does not hold the frozen parameter {quoted(name)}")
            parts.append(file.tensor(name, ref))
        if not third and parts[0].shape == shape:
            tensors[name] = parts[0]
        elif all(len(part.shape) == 1 for part in parts):
            tensors[name] = _whole(models[0].subject, name, shape, _cut(parts, 0, prod(shape)))
        else:
            _refuse(
                models[0].subject,
                f"holds the frozen parameter {quoted(name)} in another shape than it states",
            )
    return tensors


def _buffers(model: RankFile) -> dict[str, Tensor]:
    module, names = model.section("module"), model.content.get("buffer_names")
    listed = names if isinstance(names, (list, tuple)) else ()
    found = {name: module.get(name) for name in listed if isinstance(name, str)}
    for name in found:
        check_name(model.subject, name)
    return {name: model.tensor(name, ref) for name, ref in found.items() if isinstance(ref, TensorRef)}


def _wider(model: RankFile, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the model computed in another dtype than the weights have here."""
    module = model.section("module")
    return any(
        isinstance(ref, TensorRef) and ref.dtype in ("bfloat16", "float16") and tensors[name].dtype == "F32"
        for name, ref in module.items()
        if name in tensors
    )


def _refuse(subject: object, fact: str) -> NoReturn:
    raise CorruptCheckpoint(subject, fact, _DAMAGED)
