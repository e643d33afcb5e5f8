"""Megatron's folders of ranks: `mp_rank_TT[_PPP][_EEE]/model_optim_rng.pt`, a part of the model in each.

Whether a second number counts pipeline stages or experts is told by the tensors: embedding and last norm are in the
first and the last stage alone, and in every expert-parallel rank. Numbers of layers are local to a stage; stages, and
with virtual stages first all first chunks, follow each other.
Source: Megatron-LM (training/checkpointing.py, get_checkpoint_name; core/transformer/transformer_layer.py,
get_transformer_layer_offset).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import check_name, quoted
from weightsmith.checkpoint.pickle_state import Inert
from weightsmith.checkpoint.place import folders_in
from weightsmith.checkpoint.small_file import names_in
from weightsmith.checkpoint.torch_objects import TensorRef
from weightsmith.checkpoint.training.megatron_names import EMBEDDING, LAYER, NORM, canonical
from weightsmith.checkpoint.training.names import MEGATRON_FILES, MODEL_PARALLEL
from weightsmith.checkpoint.training.rank_file import read_rank_file, refuse_many_blocks
from weightsmith.checkpoint.training.ways_out import DAMAGED
from weightsmith.errors import CorruptCheckpoint, MissingInput, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.rank_file import RankFile

_CHUNK = re.compile(r"model([0-9]{0,3})")
_DEEPEST = 4
_MISSING = "copy the folders of all ranks, or the whole step"


@dataclass(frozen=True, slots=True)
class Part:
    """What one rank held of one chunk of layers, by Megatron-core's names with numbers of layers that are local."""

    tensor: int
    pipeline: int
    expert: int
    chunk: int
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Ranks:
    """All parts of a step. sizes: file -> bytes. claims: what the run states of itself, by Megatron's names."""

    parts: tuple[Part, ...]
    sizes: Mapping[str, int]
    claims: Mapping[str, object]

    def degree(self, kind: str) -> int:
        """How many ranks of a kind there are: "tensor", "pipeline", "expert" or "chunk"."""
        return 1 + max(int(getattr(part, kind)) for part in self.parts)


def rank_folders(root: Place) -> dict[tuple[int, ...], str]:
    """(numbers in the name) -> the file of the rank, of every rank's folder that has one."""
    found: dict[tuple[int, ...], str] = {}
    for folder in folders_in(root):
        match = MODEL_PARALLEL.fullmatch(folder)
        inside = names_in(root / folder) if match else []
        file = next((name for name in MEGATRON_FILES if name in inside), None)
        if match and file:
            found[tuple(int(number) for number in match.groups() if number is not None)] = f"{folder}/{file}"
    return found


def read_ranks(root: Place, files: Mapping[tuple[int, ...], str]) -> Ranks:
    """Every rank's file. Raises MissingInput (a rank is absent), CorruptCheckpoint, UnknownFormat, and what
    `read_rank_file` raises.
    """
    if len({len(numbers) for numbers in files}) > 1:
        raise CorruptCheckpoint(root, "holds ranks whose folders have names of two kinds", DAMAGED)
    read = {numbers: read_rank_file(root, name) for numbers, name in sorted(files.items())}
    chunks = {numbers: list(_chunks(file)) for numbers, file in read.items()}
    refuse_many_blocks(root, sum(len(tensors) for found in chunks.values() for _, tensors in found))
    second_is_expert = all(
        any(EMBEDDING in tensors for _, tensors in found) and any(NORM in tensors for _, tensors in found)
        for found in chunks.values()
    )
    parts = [
        Part(*_place(numbers, second_is_expert), chunk, tensors)
        for numbers, found in chunks.items()
        for chunk, tensors in found
    ]
    _need_all(root, parts)
    first = next(iter(read.values()))
    sizes = {file.name: file.size for file in read.values()}
    return Ranks(tuple(parts), sizes, claims_of(first))


def _place(numbers: tuple[int, ...], second_is_expert: bool) -> tuple[int, int, int]:
    """(tensor, pipeline, expert) of the numbers of a folder."""
    if len(numbers) == 2 and second_is_expert:
        return numbers[0], 0, numbers[1]
    return numbers[0], *(*numbers[1:], 0, 0)[:2]  # type: ignore[return-value]


def _chunks(file: RankFile) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """(number, tensors by canonical name) of `model`, or of `model0`, `model1`, … with virtual stages."""
    found = {int(m[1] or 0): key for key in file.content if (m := _CHUNK.fullmatch(key))}
    if not found:
        raise UnknownFormat(file.subject, "holds no `model`", "name a step's folder that Megatron wrote")
    version = file.content.get("checkpoint_version", 3.0)
    if isinstance(version, float | int) and version < 2:
        fact = f"is of checkpoint version {version}, which orders the rows of attention otherwise"
        raise UnknownFormat(file.subject, fact, "load and save it again with a newer Megatron-LM")
    for number, key in sorted(found.items()):
        tensors: dict[str, Tensor] = {}
        for name, ref in _flat(file.section(key), "", 0):
            new = canonical(name)
            if new is None:
                continue
            check_name(file.subject, new)
            if new in tensors:
                raise CorruptCheckpoint(file.subject, f"names {quoted(new)} twice", DAMAGED)
            tensors[new] = file.tensor(new, ref)
        yield number, tensors


def _flat(level: Mapping[str, object], before: str, depth: int) -> Iterator[tuple[str, TensorRef]]:
    """The tensors of nested dictionaries, as older Megatron has them, under dotted names."""
    for key, value in level.items():
        if isinstance(value, TensorRef):
            yield before + key, value
        elif isinstance(value, dict) and depth < _DEEPEST:
            yield from _flat(value, f"{before}{key}.", depth + 1)


def _need_all(root: Place, parts: Sequence[Part]) -> None:
    """Raises MissingInput where a rank between others is absent.

    Where experts are not cut by tensor parallelism, a run may have one file for each expert-parallel rank, with
    whichever tensor-parallel rank it was.
    """
    for kind in ("tensor", "pipeline", "expert", "chunk"):
        there = {getattr(part, kind) for part in parts}
        absent = next((number for number in range(len(there)) if number not in there), None)
        if absent is not None:
            fact = f"holds slices of {len(there)} {kind}-parallel ranks (Megatron); that of rank {absent} is missing"
            raise MissingInput(root, fact, _MISSING)
    degrees = {
        kind: 1 + max(getattr(p, kind) for p in parts) for kind in ("tensor", "pipeline", "expert", "chunk")
    }
    there_all = {(p.pipeline, p.chunk, p.tensor, p.expert) for p in parts}
    for pipeline in range(degrees["pipeline"]):
        for chunk in range(degrees["chunk"]):
            pairs = {(p[2], p[3]) for p in there_all if p[:2] == (pipeline, chunk)}
            full = len(pairs) == degrees["tensor"] * degrees["expert"]
            once = len({e for _, e in pairs}) == len(pairs) == max(degrees["tensor"], degrees["expert"])
            if not full and not (once and len({t for t, _ in pairs}) == degrees["tensor"]):
                fact = f"holds {len(pairs)} model-parallel ranks of stage {pipeline} (Megatron), and others are missing"
                raise MissingInput(root, fact, _MISSING)


def claims_of(file: RankFile) -> dict[str, object]:
    """The plain values of the run's `args`."""
    args = file.content.get("args")
    fields = args.state if isinstance(args, Inert) and args.name == "argparse.Namespace" else None
    if not isinstance(fields, dict):
        return {}
    claims: dict[str, object] = {n: v for n, v in fields.items() if isinstance(v, bool | int | float | str)}
    if fields.get("noop_layers") is not None:  # MindSpeed keeps a set of them
        claims["noop_layers"] = True
    return claims


def with_global_layers(ranks: Ranks) -> list[tuple[Part, dict[str, str]]]:
    """Each part, with its names -> the names that they have in the whole model.

    Layers are counted as they are there: one without parameters (MindSpeed's noop layers) has no number.
    """
    numbers: dict[tuple[int, int, int], int] = {}
    for chunk, pipeline in sorted({(part.chunk, part.pipeline) for part in ranks.parts}):
        own = {
            int(match[1])
            for part in ranks.parts
            if (part.chunk, part.pipeline) == (chunk, pipeline)
            for name in part.tensors
            if (match := LAYER.fullmatch(name))
        }
        for layer in sorted(own):
            numbers[chunk, pipeline, layer] = len(numbers)

    def whole_name(part: Part, name: str) -> str:
        match = LAYER.fullmatch(name)
        if match is None:
            return name
        return f"decoder.layers.{numbers[part.chunk, part.pipeline, int(match[1])]}.{match[2]}"

    return [(part, {name: whole_name(part, name) for name in part.tensors}) for part in ranks.parts]
