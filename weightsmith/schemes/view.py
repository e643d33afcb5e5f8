"""A packed checkpoint as the plain one that it stands for, so that shapes speak of the model again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.layout import row_major
from weightsmith.schemes.formula import Fault, Formula
from weightsmith.schemes.packed_module import AS_IT_IS, StoredModule
from weightsmith.schemes.registry import packed_weight
from weightsmith.schemes.small_tensors import SmallTensors
from weightsmith.schemes.stated import stated_of
from weightsmith.schemes.stored_names import (
    CACHE_SCALES,
    holds_packed_numbers,
    packed_parts,
    serves_an_engine,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint.table import Checkpoint, Tensor
    from weightsmith.schemes.packed_module import Method, PackedWeight, Shape
    from weightsmith.schemes.stored_names import NamedParts


@dataclass(frozen=True, slots=True)
class PackedModule:
    """One packed module of a checkpoint: its weight as in PackedWeight, and its tensors.

    stored: what the schemes were given.
    answer: what they said, where it rests on more than dtypes and shapes; else it is asked for when it is needed.
    """

    method: Method
    shape: Shape | None
    bits: int
    group: int
    symmetric: bool | None
    stored: StoredModule
    answer: Formula | Fault | None

    @property
    def name(self) -> str:
        """Of the module."""
        return self.stored.name

    @property
    def plain(self) -> str:
        """The name of the weight."""
        return self.stored.plain

    @property
    def parts(self) -> Mapping[str, Tensor]:
        """Its tensors by their last names."""
        return self.stored.parts

    @property
    def made(self) -> Formula | Fault:
        """How the weight is made, or why it cannot be. Worked out anew at each call."""
        answer = self.answer
        if answer is None:
            found = packed_weight(self.stored)
            assert found is not None  # it was, when the module was recognised
            answer = found.made
        return _readable(answer, self.parts)


@dataclass(frozen=True, slots=True)
class PlainView:
    """tensors: the table with packed modules undone, in file order. A weight that was packed has its plain name and
    shape, and the dtype and the place of a tensor that it was packed into.
    modules: what was packed, and how each weight of it is made.
    plain: the weights of a packed checkpoint that were not; empty where nothing is packed.
    second_norms: see `second_norms`; they are not among `tensors`.
    """

    tensors: Mapping[str, Tensor]
    modules: tuple[PackedModule, ...]
    plain: tuple[str, ...]
    second_norms: tuple[str, ...] = ()

    @property
    def packed_as(self) -> str:
        """How many weights are packed in which way, the most frequent first; empty where none is."""
        found = Counter((module.method, module.bits) for module in self.modules)
        return ", ".join(
            f"{count:,} weights are packed as {method}, {bits} bits"
            if count > 1
            else f"{count:,} weight is packed as {method}, {bits} bits"
            for (method, bits), count in found.most_common(3)
        )

    @property
    def elements(self) -> int:
        """Parameters of the model: of what is packed, those that it stands for."""
        return sum(tensor.elements for tensor in self.tensors.values())


def plain_view(checkpoint: Checkpoint) -> PlainView:
    """Undoes every packed module; the table of a checkpoint without any comes back as it is.

    Reads no more of the files than the small tensors in which some schemes keep a shape, and what config and
    descriptions state. Never raises: what is wrong with a module stands in it as a Fault.
    """
    tensors = checkpoint.tensors
    packed, owners = packed_parts(tensors)
    if not packed:
        return PlainView(tensors, (), ())
    modules = _recognised(checkpoint, packed, owners)
    result: dict[str, Tensor] = {}
    plain: list[str] = []
    done: set[str] = set()
    for name, tensor in tensors.items():
        owner = owners[name]
        if owner not in packed:
            if not serves_an_engine(name):
                result[name] = tensor
            if len(tensor.shape) == 2 and name.endswith(".weight"):
                plain.append(name)
        elif owner not in done:
            done.add(owner)
            result.update(_undone(packed[owner], modules.get(owner), tensor))
    found = tuple(modules[owner] for owner in dict.fromkeys(owners.values()) if owner in modules)
    second = second_norms(result, found)
    result = {name: tensor for name, tensor in result.items() if name not in second}
    return PlainView(result, found, tuple(plain), tuple(second))


def second_norms(tensors: Mapping[str, Tensor], modules: Iterable[PackedModule]) -> dict[str, None]:
    """ModelSlim's norms that suppress outliers: `x.module.weight` and `x.module.bias` beside `x.weight`.

    The packed weights go with these, and what stayed in floating point with the norm itself.
    """
    if not any(module.method.startswith("modelslim") for module in modules):
        return {}
    found = (name for name in tensors if name.endswith((".module.weight", ".module.bias")))
    return {name: None for name in found if f"{name.rpartition('.module.')[0]}.weight" in tensors}


def packed_modules(checkpoint: Checkpoint) -> tuple[PackedModule, ...]:
    """What is packed in a checkpoint, as far as names and dtypes show its scheme."""
    return plain_view(checkpoint).modules


def packed_tensors(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The tensors of numbers that must be unpacked before use, whatever their scheme; in file order."""
    return tuple(name for name, tensor in checkpoint.tensors.items() if holds_packed_numbers(name, tensor))


def _recognised(
    checkpoint: Checkpoint, packed: Mapping[str, NamedParts], owners: Mapping[str, str]
) -> dict[str, PackedModule]:
    """The modules that a scheme knows, by name.

    Modules of the same dtypes and shapes get the same answer, unless a scheme reads in one: a model has some ten
    kinds of them, and tens of thousands of each.
    """
    known, stated = _known_widths(checkpoint.tensors, packed, owners), stated_of(checkpoint)
    modules: dict[str, PackedModule] = {}
    kinds: dict[object, PackedWeight | None] = {}
    with SmallTensors(checkpoint) as small:
        for owner, named in packed.items():
            module = StoredModule(owner, named.plain, named.parts, known, small.read, stated)
            parts = frozenset((part, tensor.dtype, tensor.shape) for part, tensor in named.parts.items())
            kind = (parts, stated.description.get(f"{owner}.weight"), stated.group_of(owner))
            alike = kind in kinds
            if alike:
                found = kinds[kind]
            else:
                before = small.count
                found = packed_weight(module)
                if small.count == before:
                    kinds[kind] = found
            if found is not None:
                answer = None if kind in kinds else found.made
                modules[owner] = PackedModule(
                    found.method, found.shape, found.bits, found.group, found.symmetric, module, answer
                )
    return modules


def _readable(made: Formula | Fault, parts: Mapping[str, Tensor]) -> Formula | Fault:
    """The formula, unless it regroups the numbers of a tensor that does not lie in one piece."""
    if isinstance(made, Fault):
        return made
    stored = {tensor.name: tensor for tensor in parts.values()}
    for used in (made.codes, *(operand.tensor for operand in made.operands)):
        tensor = stored[used.name]
        if not tensor.contiguous and used.strides not in (tensor.strides, tensor.strides[::-1]):
            fact = "is stored as a view of other numbers"
            return Fault(tensor.name, fact, f"{AS_IT_IS}, in one piece: convert that")
    return made


def _undone(named: NamedParts, module: PackedModule | None, first: Tensor) -> dict[str, Tensor]:
    """The plain tensors of a module. first: the one that stands first in the file."""
    parts = named.parts
    if module is None or (module.shape is None and isinstance(module.made, Fault)):
        # Codes and scales of something that nobody undoes: leave them to be reported.
        return {tensor.name: tensor for part, tensor in parts.items() if part not in CACHE_SCALES}
    result: dict[str, Tensor] = {}
    if module.shape is not None:
        result[module.plain] = _as_plain(parts.get("weight", first), module.plain, module.shape)
    if "bias" in parts:
        result[parts["bias"].name] = parts["bias"]
    return result


def _known_widths(
    tensors: Mapping[str, Tensor], packed: Mapping[str, NamedParts], owners: Mapping[str, str]
) -> frozenset[int]:
    """Every width that some unpacked axis has: those of the packed weights are among them."""
    found: set[int] = set()
    for name, tensor in tensors.items():
        if owners[name] not in packed:
            found.update(tensor.shape)
    for named in packed.values():
        packed_weight = named.parts.get("weight_packed")
        if packed_weight is not None and packed_weight.shape:
            found.add(packed_weight.shape[0])
    return frozenset(found)


def _as_plain(tensor: Tensor, name: str, shape: Shape) -> Tensor:
    if tensor.name == name and tensor.shape == shape:
        return tensor
    return replace(tensor, name=name, shape=shape, strides=row_major(shape))
