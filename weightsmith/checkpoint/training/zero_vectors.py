"""The flat float32 vectors of DeepSpeed ZeRO: which elements of which process make up each parameter.

In stages 1 and 2 the parts of a group make one vector, parameters follow each other in it. In stage 3 every parameter
is cut by itself: each process has ceil(n / processes) elements of it.
Sources: deepspeed/utils/zero_to_fp32.py, runtime/zero/stage_1_and_2.py and stage3.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.pickle_state import Inert
from weightsmith.checkpoint.tiling import rows_of, unflattened
from weightsmith.checkpoint.torch_objects import TensorRef
from weightsmith.checkpoint.training.ways_out import DAMAGED
from weightsmith.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.rank_file import RankFile

Shapes: TypeAlias = "dict[str, tuple[int, ...]]"
STATE, FLAT, FLAT_3 = "optimizer_state_dict", "single_partition_of_fp32_groups", "fp32_flat_groups"
_ADDRESS = "deepspeed.utils.tensor_fragment.fragment_address"


@dataclass(frozen=True, slots=True)
class Flat:
    """The part of one process: its vectors, one for each group; where parameters begin in them, if it states that."""

    file: RankFile
    vectors: tuple[Tensor, ...]


def read_flat(file: RankFile) -> Flat:
    state = file.section(STATE)
    groups = state.get(FLAT_3, state.get(FLAT))
    if not isinstance(groups, list):
        refuse(file.subject, "holds no flat float32 weights")
    # Stage 3 keeps a list of sub-groups, or a list of one flat vector.
    vectors = [part for group in groups for part in (group if isinstance(group, list) else [group])]
    if not vectors or not all(isinstance(v, TensorRef) and len(v.shape) == 1 for v in vectors):
        refuse(file.subject, "holds flat weights that are no vectors")
    return Flat(file, tuple(file.tensor(f"group_{n}", v) for n, v in enumerate(vectors)))


def first_two_stages(root: Place, groups: Sequence[Shapes], flats: Sequence[Flat]) -> dict[str, Tensor]:
    """Stages 1 and 2: of each group one vector, the parts of the processes in order."""
    paddings = flats[0].file.section(STATE).get("param_alignment_paddings")
    if any(len(flat.vectors) != len(groups) for flat in flats):
        refuse(root, f"describes {len(groups)} groups of parameters, and has other numbers of flat vectors")
    tensors: dict[str, Tensor] = {}
    for number, shapes in enumerate(groups):
        parts = [flat.vectors[number] for flat in flats]
        gaps = paddings[number] if isinstance(paddings, list) and len(paddings) == len(groups) else None
        if not isinstance(gaps, list) or len(gaps) != len(shapes):
            gaps = [0] * len(shapes)
        begin = 0
        for (name, shape), gap in zip(shapes.items(), gaps, strict=True):
            tensors[name] = whole(root, name, shape, cut(parts, begin, begin + prod(shape)))
            _agree(flats, number, name, begin, prod(shape))
            begin += prod(shape) + (gap if type(gap) is int and gap > 0 else 0)
        # DeepSpeed fills up the vector to a multiple of twice the number of processes.
        held, unit = sum(part.shape[0] for part in parts), 2 * len(flats)
        if -(-begin // unit) != -(-held // unit):
            refuse(
                root, f"has flat weights of {held:,} elements in a group, of which parameters take {begin:,}"
            )
    return tensors


def _agree(flats: Sequence[Flat], group: int, name: str, begin: int, count: int) -> None:
    """Raises CorruptCheckpoint where a process states another place for its part than the order gives."""
    first = 0
    for flat in flats:
        size = flat.vectors[group].shape[0]
        start, stop = max(begin - first, 0), min(begin + count - first, size)
        stated = _stated(flat.file, group, name)
        if stated is not None and start < stop and stated != (start, stop - start):
            there, place = stated[1], stated[0]
            own = stop - start
            fact = f"states {there:,} elements of {quoted(name)} at {place:,}, not {own:,} at {start:,}"
            refuse(flat.file.subject, fact)
        first += size


def _stated(file: RankFile, group: int, name: str) -> tuple[int, int] | None:
    """(first element, elements) of a parameter in a process's vector, where newer files have a list of them."""
    mappings = file.section(STATE).get("param_slice_mappings")
    mapping = mappings[group] if isinstance(mappings, list) and group < len(mappings) else None
    found = mapping.get(name) if isinstance(mapping, dict) else None
    fields = found.state if isinstance(found, Inert) and found.name == _ADDRESS else None
    if not isinstance(fields, dict):
        return None
    start, count = fields.get("start"), fields.get("numel")
    return (start, count) if type(start) is int and type(count) is int else None


def third_stage(root: Place, groups: Sequence[Shapes], flats: Sequence[Flat]) -> dict[str, Tensor]:
    """Stage 3: each process has the same share of each parameter, the last ones filled up."""
    tensors: dict[str, Tensor] = {}
    begin = 0
    for name, shape in [item for shapes in groups for item in shapes.items()]:
        share = -(-prod(shape) // len(flats))
        runs = [run for flat in flats for run in cut(flat.vectors, begin, begin + share)]
        tensors[name] = whole(root, name, shape, cut(runs, 0, prod(shape)))
        begin += share
    held = {sum(vector.shape[0] for vector in flat.vectors) for flat in flats}
    if held != {begin}:
        shown = " and ".join(f"{count:,}" for count in sorted(held))
        refuse(root, f"has flat weights of {shown} elements in a process, of which parameters take {begin:,}")
    return tensors


def cut(vectors: Sequence[Tensor], start: int, stop: int) -> list[Tensor]:
    """Elements start:stop of vectors that follow each other, as far as they reach."""
    found, first = [], 0
    for vector in vectors:
        size = vector.shape[0]
        begin, end = max(start - first, 0), min(stop - first, size)
        if begin < end:
            found.append(rows_of(vector, begin, end))
        first += size
    return found


def whole(root: object, name: str, shape: tuple[int, ...], runs: list[Tensor]) -> Tensor:
    """The parameter of a shape whose elements are those of the runs, in order. Raises CorruptCheckpoint."""
    if not runs:
        refuse(root, f"has no elements of {quoted(name)}")
    try:
        return unflattened(name, shape, runs)
    except ValueError as error:
        refuse(root, f"does not hold all of {quoted(name)}: {error}")


def refuse(subject: object, fact: str) -> NoReturn:
    """Raises CorruptCheckpoint: what is stated of the vectors does not hold."""
    raise CorruptCheckpoint(subject, fact, DAMAGED)
