"""What a model consists of: parameters and bytes by part and by layer, and which layers are unlike the others."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import without_indices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.json_value import JsonObject

# Part → what its tensors are called, the first that is found counts. Names are searched in whole, so that a norm inside
# of an attention is a norm, and all of a vision tower is vision.
_PARTS = tuple(
    (part, re.compile(pattern))
    for part, pattern in (
        ("vision", r"(^|[._])(vision|visual|vit|image|sam|patch_embed|mm_projector|multi_modal)"),
        ("audio", r"(^|[._])(audio|speech|codec|conformer)"),
        ("norms", r"norm|(^|[._])ln_?(\d+|f|\d+_\w+)?\.|layer_?norm"),
        ("router", r"router|(^|\.)(mlp|moe|block_sparse_moe|feed_forward|ffn|mixer)\.gate\.|e_score_correction"),
        ("experts", r"expert"),
        ("head", r"(^|\.)(lm_head|embed_out|score|classifier|qa_outputs|v_head|output)\.(weight|bias)"),
        ("embeddings", r"embed|(^|\.)(wte|wpe|shared)\."),
        ("attention", r"att[en]|[qkv]_?proj|(^|[._])qkv|query_key_value|o_proj|gqkv"),
        ("state space", r"mamba|mixer|ssm|conv1d|A_log|dt_|(^|\.)D$|delta_?net|time_mix"),
        ("MLP", r"mlp|feed_forward|ffn|(^|[._])(fc|c_fc|c_proj|w)_?\d*\.|gate_proj|up_proj|down_proj|dense"),
    )
)  # fmt: skip
OTHER = "other"

# A tensor's name up to its first index, the index, and what follows.
_LAYER = re.compile(r"(?P<stack>(?:[^.]+\.)*?)(?P<index>[0-9]{1,6})\.(?P<rest>.+)")
# A stack of more layers is no model's: the deepest ones have some 200.
_MOST_LAYERS = 2000
# So many differences of an odd layer are named.
_MOST_ODD = 6


@dataclass(frozen=True, slots=True)
class Part:
    """tensors and bytes: as they are stored. parameters: of the model, packed weights as what they stand for."""

    name: str
    tensors: int
    parameters: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a stack, counted as a Part is.

    stack: the name before the index (`model.layers`). kind: layers of a stack with the same tensors have the same
    number, from 0 on in the order of their first layer. odd: how it differs from most layers of its stack, where it
    alone differs so.
    """

    stack: str
    index: int
    tensors: int
    parameters: int
    bytes: int
    kind: int
    odd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Anatomy:
    """parts: those that are there, the largest first. layers: in the order of their stacks, then of their indices."""

    parts: tuple[Part, ...]
    layers: tuple[Layer, ...]

    def document(self) -> JsonObject:
        """What it adds to the JSON of `inspect`."""
        return {
            "parts": [asdict(part) for part in self.parts],
            "layers": [{**asdict(layer), "odd": list(layer.odd)} for layer in self.layers],
        }


# Of a checkpoint that was not looked at.
NOTHING = Anatomy((), ())


def anatomy(stored: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> Anatomy:
    """Of names, dtypes and shapes alone. plain: what the stored tensors stand for; the same where none is packed."""
    return Anatomy(_parts(stored, plain), tuple(_layers(stored, plain)))


@lru_cache(maxsize=10_000)
def part_of(name: str) -> str:
    """The part that a tensor of this name belongs to; OTHER where the name tells none. Indices do not matter."""
    return next((part for part, pattern in _PARTS if pattern.search(name)), OTHER)


def _parts(stored: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> tuple[Part, ...]:
    tensors, parameters, size = Counter[str](), Counter[str](), Counter[str]()
    for name, tensor in stored.items():
        part = part_of(without_indices(name))
        tensors[part] += 1
        size[part] += tensor.nbytes
        if plain is stored:
            parameters[part] += tensor.elements
    for name, tensor in () if plain is stored else plain.items():
        parameters[part_of(without_indices(name))] += tensor.elements
    found = [Part(name, tensors[name], parameters[name], size[name]) for name in tensors]
    return tuple(sorted(found, key=lambda part: (-part.parameters, part.name)))


def _layers(stored: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> Iterator[Layer]:
    own = _by_layer(stored.values())
    stands_for = own if plain is stored else _by_layer(plain.values())
    for stack, layers in own.items():
        kinds: dict[frozenset[_Seen], int] = {}
        looks = {index: _look(tensors) for index, tensors in sorted(layers.items())}
        for look in looks.values():
            kinds.setdefault(look, len(kinds))
        frequent = Counter(looks.values())
        usual = frequent.most_common(1)[0][0]
        for index, look in looks.items():
            alone = frequent[look] == 1 and len(layers) > 2 and look != usual
            tensors = [tensor for _, tensor in layers[index]]
            parameters = sum(tensor.elements for _, tensor in stands_for.get(stack, {}).get(index, ()))
            size = sum(tensor.nbytes for tensor in tensors)
            odd = tuple(_differences(look, usual)) if alone else ()
            yield Layer(stack, index, len(tensors), parameters, size, kinds[look], odd)


# A tensor of a layer, with `*` for further indices: name, dtype, shape, and how many of these there are.
_Seen = tuple[str, str, tuple[int, ...], int]


def _by_layer(tensors: Iterable[Tensor]) -> dict[str, dict[int, list[tuple[str, Tensor]]]]:
    """Stack → index → (name inside the layer, tensor), of stacks of two layers or more, up to _MOST_LAYERS."""
    found: dict[str, list[tuple[int, str, Tensor]]] = defaultdict(list)
    for tensor in tensors:
        if part := _LAYER.fullmatch(tensor.name):
            found[part["stack"]].append((int(part["index"]), part["rest"], tensor))
    result: dict[str, dict[int, list[tuple[str, Tensor]]]] = {}
    for stack, members in found.items():
        if 1 < len({index for index, _, _ in members}) <= _MOST_LAYERS:
            layers: dict[int, list[tuple[str, Tensor]]] = defaultdict(list)
            for index, rest, tensor in members:
                layers[index].append((rest, tensor))
            result[stack.rstrip(".")] = layers
    return result


def _look(tensors: Iterable[tuple[str, Tensor]]) -> frozenset[_Seen]:
    counted = Counter((without_indices(name), tensor.dtype, tensor.shape) for name, tensor in tensors)
    return frozenset((*seen, count) for seen, count in counted.items())


def _differences(look: frozenset[_Seen], usual: frozenset[_Seen]) -> Iterator[str]:
    """What one layer has otherwise than another, in words."""
    others = {name: (dtype, shape, count) for name, dtype, shape, count in usual}
    own = {name: (dtype, shape, count) for name, dtype, shape, count in look}
    for number, name in enumerate(sorted(n for n in {*own, *others} if own.get(n) != others.get(n))):
        if number == _MOST_ODD:
            yield "and more"
            return
        if name not in own:
            yield f"lacks {name}"
        elif name not in others:
            yield f"has {name}"
        else:
            yield f"{name} is {_words(own[name])}, elsewhere {_words(others[name])}"


def _words(seen: tuple[str, tuple[int, ...], int]) -> str:
    dtype, shape, count = seen
    several = f"{count} of " if count > 1 else ""
    return f"{several}{dtype} {' x '.join(map(str, shape))}"
