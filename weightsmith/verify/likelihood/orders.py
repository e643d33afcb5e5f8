"""In the likelihood's child: the orders in which weights are often stored, other than the one that their class expects.

Nothing here knows a family. Which tensors could be exchanged, split or turned is seen from their shapes; names say only
what is rotated by position, what a norm is, and which layer a tensor belongs to.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

    Weights: TypeAlias = Mapping[str, Tensor]
    Change: TypeAlias = Callable[[Tensor], Tensor]
    # Of a tensor in a layer: the kind's name and shape, and the numbers within the layer.
    _Slot: TypeAlias = tuple[str, tuple[int, ...], tuple[int, ...]]
    # Layer → what it has in each slot.
    _Layers: TypeAlias = Mapping[int, Mapping[_Slot, str]]

_NUMBER = re.compile(r"\.(\d+)(?=\.)")
_ROTATED = re.compile(r"\.(q|k)_proj\.(weight|bias)$")
_QUERIES, _OUTPUT = re.compile(r"\.q_proj\.(weight|bias)$"), re.compile(r"\.o_proj\.weight$")
_NORM = re.compile(r"(norm|\bln_\w+)\.weight$")
# Input channels that share a scale in the ternary models that are published before they are fused (BitCPM).
_TERNARY_GROUP = 128


@dataclass(frozen=True, slots=True)
class Order:
    """One other order. says: what is otherwise than in the files, for a sentence.

    taken: parameter → the parameter that it should be, and what is done to that.
    farther: what is worth trying, too, where this order is better than the files' own.
    """

    says: str
    taken: Mapping[str, tuple[str, Change]]
    farther: Callable[[], Iterable[Order]] = tuple

    def weights(self, stored: Weights) -> dict[str, Tensor]:
        """The parameters that change."""
        return {name: change(stored[source]) for name, (source, change) in self.taken.items()}

    def nbytes(self, stored: Weights) -> int:
        """What `weights` takes beside what is stored."""
        return sum(
            stored[name].nbytes for name, (_, change) in self.taken.items() if change is not _as_stored
        )


@dataclass(frozen=True, slots=True)
class _Where:
    """A stack of layers, the number of one, and numbers within it, such as an expert's."""

    stack: str
    layer: int
    within: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Tensors that every layer has one of, and every expert in it. name: within a layer, with stars for numbers.

    names: where each is → its whole name. shape: of all of them.
    """

    name: str
    names: Mapping[_Where, str]
    shape: tuple[int, ...]

    @property
    def part(self) -> str:
        """The module that it is in, such as the attention."""
        return self.name.removesuffix(".weight").rpartition(".")[0]


def orders(model: PreTrainedModel) -> Iterator[Order]:
    """What to try of a model in memory: some dozens, and one for each pair of neighbouring layers."""
    config, stored = model.config.get_text_config(), dict(model.named_parameters())
    kinds = _kinds(stored)
    yield from _moved_tables(stored, config.vocab_size)
    yield from _exchanged(kinds)
    yield from _turned(kinds)
    yield from _halves(stored, kinds)
    yield from _heads(stored, kinds, config)
    yield from _gains(stored)
    yield from _layers(stored, kinds)
    yield from _fused(kinds)


def _kinds(stored: Weights) -> list[_Kind]:
    """Of all stacks together: whoever stores one of them otherwise does so with all, as with HRM-Text's two."""
    found: dict[tuple[str, tuple[int, ...]], dict[_Where, str]] = defaultdict(dict)
    for name, tensor in stored.items():
        numbers = [int(one) for one in _NUMBER.findall(name)]
        if numbers:
            stack, _, rest = _NUMBER.sub(".*", name).partition(".*.")
            found[rest, tuple(tensor.shape)][_Where(stack, numbers[0], tuple(numbers[1:]))] = name
    return [_Kind(kind, names, shape) for (kind, shape), names in found.items()]


def _each(names: Iterable[str], change: Change) -> dict[str, tuple[str, Change]]:
    return {name: (name, change) for name in names}


def _as_stored(one: Tensor) -> Tensor:
    return one


def _moved_tables(stored: Weights, vocabulary: int) -> Iterator[Order]:
    """Embedding and head of a tokenizer that counts from another beginning."""
    for name, table in stored.items():
        if table.dim() == 2 and table.shape[0] == vocabulary:
            yield Order(f"the rows of {name} one place down", _each([name], lambda one: one.roll(1, 0)))
            yield Order(f"the rows of {name} one place up", _each([name], lambda one: one.roll(-1, 0)))


def _exchanged(kinds: list[_Kind]) -> Iterator[Order]:
    """Two matrices of one module in every layer, such as gate and up, or queries and keys."""
    for one, other in combinations(kinds, 2):
        alike = one.shape == other.shape and one.names.keys() == other.names.keys()
        if alike and len(one.shape) > 1 and one.part == other.part:
            says = f"{one.name} and {other.name} of every layer exchanged"
            yield Order(says, _swapped(one.names, other.names))


def _swapped(one: Mapping[_Where, str], other: Mapping[_Where, str]) -> dict[str, tuple[str, Change]]:
    there = {name: (other[where], _as_stored) for where, name in one.items()}
    return there | {name: (one[where], _as_stored) for where, name in other.items()}


def _turned(kinds: list[_Kind]) -> Iterator[Order]:
    """Square matrices stored as [in, out]: of others the shape tells it."""
    for kind in kinds:
        if len(kind.shape) == 2 and len(set(kind.shape)) == 1:
            yield Order(
                f"{kind.name} of every layer transposed",
                _each(kind.names.values(), lambda one: one.mT.contiguous()),
            )


def _halves(stored: Weights, kinds: list[_Kind]) -> Iterator[Order]:
    """Gate and up in one tensor: it has twice the channels that a matrix of its module takes in."""
    import torch

    for kind in kinds:
        sizes = {_doubled(kind.shape, other.shape) for other in kinds if other.part == kind.part}
        for size in sizes - {0}:
            channels = torch.arange(size)
            for words, order in (
                ("with its halves exchanged", channels.roll(size // 2)),
                ("taken as pairs of channels", channels.view(-1, 2).T.flatten()),
                ("taken as halves of channels", channels.view(2, -1).T.flatten()),
            ):
                yield Order(f"{kind.name} of every layer {words}", _reordered(stored, kind, order))


def _doubled(shape: tuple[int, ...], behind: tuple[int, ...]) -> int:
    """The channels of a matrix that gives twice what the one behind it takes; 0 for one that does not."""
    if len(shape) < 2 or len(shape) != len(behind):
        return 0
    if shape[-2:] == (2 * behind[-1], behind[-2]):
        return shape[-2]
    return shape[-1] if shape[-2:] == (behind[-1], 2 * behind[-2]) else 0


def _reordered(stored: Weights, kind: _Kind, order: Tensor) -> dict[str, tuple[str, Change]]:
    """The channels of a kind in another order, and those of its bias. order: the old place of each."""
    stems = tuple(name.removesuffix(".weight") for name in kind.names.values())
    names = [name for name in stored if name.startswith(stems) and len(order) in stored[name].shape]

    def change(one: Tensor) -> Tensor:
        return one.index_select(list(one.shape).index(len(order)), order)

    return _each(names, change)


def _heads(stored: Weights, kinds: list[_Kind], config: PretrainedConfig) -> Iterator[Order]:
    """The channels within a head, the heads among each other, and queries, keys and values in one tensor."""
    import torch

    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int):  # a model without attention, or with a number for each layer
        return
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    rotated = [name for name in stored if _ROTATED.search(name)]
    if rotated and size % 2 == 0 and all(stored[name].shape[0] % size == 0 for name in rotated):
        yield Order(
            "the rows of each head of q_proj and k_proj taken as pairs",  # as Meta's release of Llama has them
            _each(rotated, lambda one: one.unflatten(0, (-1, size // 2, 2)).transpose(1, 2).flatten(0, 2)),
        )
        yield Order(
            "the rows of each head of q_proj and k_proj taken as halves",
            _each(rotated, lambda one: one.unflatten(0, (-1, 2, size // 2)).transpose(1, 2).flatten(0, 2)),
        )
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    whole = [stored[name].shape[0] for name in stored if _QUERIES.search(name)]
    whole += [stored[name].shape[1] for name in stored if _OUTPUT.search(name)]
    if 1 < shared < heads and set(whole) == {heads * size}:
        yield from _regrouped(stored, size, (heads // shared, shared))
    channels = torch.arange(3 * heads * size)
    for kind in kinds:
        if len(kind.shape) == 2 and len(channels) in kind.shape:
            by_head = channels.view(heads, 3, size).transpose(0, 1).flatten()
            yield Order(
                f"{kind.name} of every layer taken as heads of three parts", _reordered(stored, kind, by_head)
            )
            by_part = channels.view(3, heads, size).transpose(0, 1).flatten()
            yield Order(
                f"{kind.name} of every layer taken as three parts of heads", _reordered(stored, kind, by_part)
            )


def _regrouped(stored: Weights, size: int, counts: tuple[int, int]) -> Iterator[Order]:
    """Which heads of queries share one of keys: neighbours, or every n-th. counts: how many share one, and of those."""
    for words, first in zip(("every n-th", "neighbours"), counts, strict=True):

        def rows(one: Tensor, first: int = first) -> Tensor:
            return one.unflatten(0, (first, -1, size)).transpose(0, 1).flatten(0, 2)

        def columns(one: Tensor, first: int = first) -> Tensor:
            return one.unflatten(1, (first, -1, size)).transpose(1, 2).flatten(1, 3)

        taken = _each(filter(_QUERIES.search, stored), rows) | _each(filter(_OUTPUT.search, stored), columns)
        yield Order(f"the heads of q_proj taken as if {words} shared one of k_proj", taken)


def _gains(stored: Weights) -> Iterator[Order]:
    """A norm that multiplies by its weight, or by one more than that (Gemma, whose GGUF files have it added)."""
    norms = [name for name in stored if _NORM.search(name)]
    if norms:
        yield Order("the weights of all norms greater by one", _each(norms, lambda one: one + 1))
        yield Order("the weights of all norms less by one", _each(norms, lambda one: one - 1))


def _layers(stored: Weights, kinds: list[_Kind]) -> Iterator[Order]:
    """Two neighbours exchanged, which lead to those farther apart, and layers sorted as words: 0, 1, 10, 11, 2."""
    stacks: dict[str, dict[int, dict[_Slot, str]]] = defaultdict(lambda: defaultdict(dict))
    for kind in kinds:
        for where, name in kind.names.items():
            stacks[where.stack][where.layer][kind.name, kind.shape, where.within] = name
    for stack, layers in stacks.items():
        numbers = sorted(layers)
        for one, other in pairwise(numbers):
            if layers[one].keys() == layers[other].keys():
                yield replace(
                    _exchange(stack, layers, one, other),
                    farther=partial(_farther, stack, layers, (one, other)),
                )
        words = sorted(numbers, key=str)
        if words != numbers and len({frozenset(layer) for layer in layers.values()}) == 1:
            # What was sorted as words has at the n-th place the layer of the n-th word.
            back = {layer: numbers[place] for place, layer in enumerate(words)}
            yield Order(
                f"the layers of {stack} taken as sorted by number, not as words", _moved(layers, back)
            )


def _farther(stack: str, layers: _Layers, near: tuple[int, int]) -> Iterator[Order]:
    """One of two neighbours exchanged with any other layer that has the same tensors."""
    for one in near:
        for other in layers.keys() - set(near):
            if layers[one].keys() == layers[other].keys():
                yield _exchange(stack, layers, *sorted((one, other)))


def _exchange(stack: str, layers: _Layers, one: int, other: int) -> Order:
    return Order(f"{stack}.{one} and {stack}.{other} exchanged", _moved(layers, {one: other, other: one}))


def _moved(layers: _Layers, places: Mapping[int, int]) -> dict[str, tuple[str, Change]]:
    """places: layer → the one whose tensors it takes."""
    return {
        name: (layers[source][slot], _as_stored)
        for number, source in places.items()
        for slot, name in layers[number].items()
    }


def _fused(kinds: list[_Kind]) -> Iterator[Order]:
    """What a ternary model computes with, where the files have what it was trained from."""
    names = [
        name
        for kind in kinds
        if len(kind.shape) == 2 and kind.shape[1] % _TERNARY_GROUP == 0
        for name in kind.names.values()
    ]
    if names:
        says = f"all matrices of the layers rounded to ternary numbers in groups of {_TERNARY_GROUP}"
        yield Order(says, _each(names, _ternary))


def _ternary(one: Tensor) -> Tensor:
    import torch

    from weightsmith.values.ternary_quantizer import fuse

    return torch.from_numpy(fuse(one.float().numpy(), "F32", "F32", _TERNARY_GROUP)).to(one.dtype)
