"""The parts of Megatron's ranks, joined: each parameter whole, and what further ranks held of the same numbers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.tiling import rows_of, stacked, transposed
from weightsmith.checkpoint.training.limits import MOST_EXPERTS, need_few
from weightsmith.checkpoint.training.megatron_names import (
    AHEAD,
    EXPERT,
    GROUPED,
    IN_EXPERT,
    IN_LATENT_LAYER,
    IN_LAYER,
    LATENT,
    LAYER,
    ROUTER,
    TOP,
)
from weightsmith.checkpoint.training.megatron_ranks import with_global_layers
from weightsmith.checkpoint.training.ways_out import DAMAGED, TOOLS
from weightsmith.errors import CorruptCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.megatron_names import Cut, Parameter
    from weightsmith.checkpoint.training.megatron_ranks import Part, Ranks

# Megatron-core's name in the whole model -> the parameter; a gated one as its two projections.
Joined: TypeAlias = "dict[str, tuple[Tensor, ...]]"
# (tensor-parallel rank, expert-parallel rank) -> what it held.
_Held: TypeAlias = "dict[tuple[int, int], Tensor]"


@dataclass(frozen=True, slots=True)
class Whole:
    """tables: the model, and what further ranks held of it. ahead: how many tensors of heads that look ahead are
    left out. experts: how many the model has. experts_cut: whether tensor parallelism cuts them.
    """

    tables: tuple[Joined, ...]
    ahead: int
    experts: int
    experts_cut: bool


def parameter_of(name: str, latent: bool) -> Parameter | None:
    """What is known of a parameter by its canonical name; None for names that are not known."""
    layer = LAYER.fullmatch(name)
    if layer is None:
        return TOP.get(name)
    expert = EXPERT.fullmatch(layer[2])
    if expert:
        return IN_EXPERT[expert[2] or expert[3]]
    return (IN_LATENT_LAYER.get(layer[2]) if latent else None) or IN_LAYER.get(layer[2])


def join(root: Place, ranks: Ranks, same: Callable[[Tensor, Tensor], bool]) -> Whole:
    """The whole model out of its parts.

    same: whether two tensors hold the same numbers; asked where only the numbers tell whether ranks hold parts.
    Raises CorruptCheckpoint (parts that do not fit), UnknownFormat (a parameter that is not known).
    """
    held: dict[str, _Held] = defaultdict(dict)
    for name, (rank, expert), tensor in _by_whole_names(ranks):
        # Two stages may have the same: the last one its own embedding, for heads that look ahead.
        while (rank, expert) in held[name]:
            expert += ranks.degree("expert")
        held[name][rank, expert] = tensor
    ahead = [name for name in held if name.startswith(AHEAD)]
    latent = any(name.endswith(LATENT) for name in held)
    routers = [t for name, ranked in held.items() if name.endswith(ROUTER) for t in ranked.values()]
    experts = max((router.shape[0] for router in routers if router.shape), default=0)
    told: dict[str, bool] = {}
    tables: list[Joined] = [{}]
    for name, ranked in held.items():
        if name in ahead:
            continue
        parameter = parameter_of(name, latent)
        if parameter is None:
            raise UnknownFormat(root, f"holds {quoted(name)}, a parameter of no kind that is known", TOOLS)
        cut = _cut_of(name, parameter, ranked, same, told)
        for number, parts in enumerate(_rounds(cut, ranked)):
            if number == len(tables):
                tables.append({})
            try:
                need_axes(name, parameter.cut, parts)
                tables[number][name] = _joined(name, cut, parts)
            except ValueError as error:
                fact = f"holds parts of {quoted(name)} that do not fit together: {error}"
                raise CorruptCheckpoint(root, fact, DAMAGED) from error
    return Whole(tuple(tables), len(ahead), experts, told.get("experts", True))


def _by_whole_names(ranks: Ranks) -> Iterator[tuple[str, tuple[int, int], Tensor]]:
    """(name in the whole model, (tensor-, expert-parallel rank), tensor), with experts numbered in the whole model."""
    degree = ranks.degree("expert")
    for part, names in with_global_layers(ranks):
        own = _experts_of(part, names, degree)
        for name, tensor in own:
            yield name, (part.tensor, part.expert), tensor


def _experts_of(part: Part, names: Mapping[str, str], degree: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a part by their names in the whole model. degree: of expert parallelism."""
    local: dict[str, set[int]] = defaultdict(set)
    for name in names.values():
        layer = LAYER.fullmatch(name)
        expert = EXPERT.fullmatch(layer[2]) if layer else None
        if layer and expert:
            local[layer[1]].add(int(expert[1] or expert[4]))
    for name, tensor in part.tensors.items():
        whole = names[name]
        layer = LAYER.fullmatch(whole)
        if layer is None:
            yield whole, tensor
            continue
        at, expert = f"decoder.layers.{layer[1]}.", EXPERT.fullmatch(layer[2])
        if expert:
            number = int(expert[1] or expert[4]) + part.expert * len(local[layer[1]])
            yield f"{at}mlp.experts.{number}.{expert[2] or expert[3]}", tensor
        elif layer[2] in GROUPED:
            router = part.tensors.get(name.removesuffix(layer[2]) + ROUTER)
            count = router.shape[0] // degree if router is not None and router.shape else 0
            for number, one in enumerate(_ungrouped(tensor, layer[2], count)):
                yield f"{at}mlp.experts.{number + part.expert * count}.{GROUPED[layer[2]]}", one
        else:
            yield whole, tensor


def _ungrouped(tensor: Tensor, name: str, count: int) -> Iterator[Tensor]:
    """The experts in one matrix of the older grouped product: [experts, inputs, outputs] whatever its stated shape."""
    need_few(name, count, MOST_EXPERTS, "experts")
    if len(tensor.shape) != 2 or not count or not tensor.contiguous or not tensor.elements:
        raise CorruptCheckpoint(
            name, f"has shape {list(tensor.shape)}, which is not that of {count} experts", DAMAGED
        )
    hidden = tensor.shape[0] if name.endswith("weight1") else tensor.shape[1]
    other, rest = divmod(tensor.elements, hidden * count)
    if rest:
        raise CorruptCheckpoint(
            name, f"has shape {list(tensor.shape)}, which is not that of {count} experts", DAMAGED
        )
    shape = (hidden, other) if name.endswith("weight1") else (other, hidden)
    for number in range(count):
        offset = tensor.offset + number * shape[0] * shape[1]
        yield transposed(replace(tensor, shape=shape, strides=(shape[1], 1), offset=offset))


def need_axes(name: str, cut: Cut, parts: Sequence[Tensor]) -> None:
    """Raises ValueError where a parameter is no matrix, or no vector, as one of its kind is."""
    is_matrix = name.endswith(ROUTER) or (name.endswith(".weight") and cut != "same")
    fits = {2} if is_matrix else {1} if name.endswith(".bias") else {1, 2}
    if any(len(part.shape) not in fits or 0 in part.shape for part in parts):
        raise ValueError(f"shapes {[list(part.shape) for part in parts]}")


def _cut_of(
    name: str,
    parameter: Parameter,
    held: _Held,
    same: Callable[[Tensor, Tensor], bool],
    told: dict[str, bool],
) -> Cut:
    """How a parameter is cut here; `told` keeps what numbers have told of its kind."""
    ranks = sorted({tensor for tensor, _ in held})
    layer = LAYER.fullmatch(name)
    is_expert = layer is not None and EXPERT.fullmatch(layer[2]) is not None
    if len(ranks) < 2 or not (is_expert or parameter.cut == "either"):
        return "rows" if parameter.cut == "either" else parameter.cut
    kind = "experts" if is_expert else layer[2] if layer else name
    if kind not in told:
        expert = min(e for _, e in held)
        first, second = (held[rank, expert] for rank in ranks[:2])
        told[kind] = not same(first, second)
    if told[kind]:
        return "rows" if parameter.cut == "either" else parameter.cut
    return "same"


def _rounds(cut: Cut, held: _Held) -> list[list[Tensor]]:
    """The parts that make the parameter once, again and again, as far as ranks hold it more than once.

    Experts are held by one expert-parallel rank each, everything else by all of them.
    """
    if cut == "same":
        return [[held[place]] for place in sorted(held)]
    tensors = sorted({tensor for tensor, _ in held})
    experts = sorted({expert for _, expert in held})
    full = [[held[t, e] for t in tensors] for e in experts if all((t, e) in held for t in tensors)]
    return full or [[next(held[t, e] for e in experts if (t, e) in held) for t in tensors]]


def _joined(name: str, cut: Cut, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    if cut == "gated":
        halves = [part.shape[0] // 2 for part in parts]
        if any(part.shape[0] % 2 for part in parts):
            raise ValueError("an odd number of rows for two projections")
        first = [rows_of(part, 0, half) for part, half in zip(parts, halves, strict=True)]
        second = [rows_of(part, half, 2 * half) for part, half in zip(parts, halves, strict=True)]
        return stacked(name, first), stacked(name, second)
    if cut == "same":
        return (replace(parts[0], name=name),)
    return (stacked(name, parts, 1 if cut == "columns" else 0),)
