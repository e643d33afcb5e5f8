"""DTensors in the files of single processes: the part of a tensor that one process held, as inert values.

Sources: torch/distributed/tensor (DTensor, DTensorSpec, placement_types.py) and
torch/distributed/device_mesh.py, whose objects are pickled as an empty one and a dict of their fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weightsmith.checkpoint.layout import MOST_AXES, shape_fault
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.pickle_state import Inert
from weightsmith.checkpoint.torch_objects import Name, TensorRef, TorchVocabulary
from weightsmith.errors import UnknownFormat

Kind = Literal["shard", "strided", "replicate"]
_REBUILDS = ("torch._tensor._rebuild_from_type_v2", "torch.tensor._rebuild_from_type_v2")
_WRAPPED = "torch._utils._rebuild_wrapper_subclass"
# In both places where torch has had them (the second until 2.4).
_DTENSOR = frozenset({"torch.distributed.tensor.DTensor", "torch.distributed._tensor.api.DTensor"})
_KINDS: dict[str, Kind] = {"Shard": "shard", "_StridedShard": "strided", "Replicate": "replicate"}
_PLACEMENTS = {
    f"{module}.{name}": kind
    for module in ("torch.distributed.tensor.placement_types", "torch.distributed._tensor.placement_types")
    for name, kind in _KINDS.items()
}
_MESH = "torch.distributed.device_mesh.DeviceMesh"
_OF_TORCH = frozenset(
    {
        _WRAPPED,
        _MESH,
        *_DTENSOR,
        *_PLACEMENTS,
        *(
            f"torch.distributed.{module}.{name}"
            for module in ("tensor._dtensor_spec", "_tensor.placement_types", "tensor.placement_types")
            for name in ("DTensorSpec", "TensorMeta", "ShardOrderEntry")
        ),
        "torch.distributed._mesh_layout._MeshLayout",
        "torch.distributed._mesh_layout._FlatLayout",
        "torch.distributed._pycute.layout.Layout",
        "torch.serialization._get_layout",
    }
)
# Packages whose classes are found among the arguments of a run.
_LIBRARIES = ("megatron.", "mindspeed.", "mindspeed_llm.", "modellink.", "deepspeed.")


@dataclass(frozen=True, slots=True)
class Placement:
    """What one axis of the mesh does to a tensor. dim: the tensor's axis that it cuts. factor: see `_StridedShard`."""

    kind: Kind
    dim: int
    factor: int


@dataclass(frozen=True, slots=True)
class ShardRef:
    """The part of a tensor that one process held.

    local: the part. shape: of the whole. placements: one for each axis of the mesh. coordinate: of the process in it.
    """

    local: TensorRef
    shape: tuple[int, ...]
    placements: tuple[Placement, ...]
    coordinate: tuple[int, ...]


class RunVocabulary(TorchVocabulary):
    """What a torch file may name, and DTensors; nothing is imported or called."""

    __slots__ = ()

    def find(self, module: str, name: str) -> object:
        """Raises UnknownFormat for a ShardedTensor, and as `TorchVocabulary.find` for every name that neither knows."""
        dotted = f"{module}.{name}"
        if module.startswith("torch.distributed._shard."):
            fact = f"holds a ShardedTensor, as FSDP 1 without a mesh of devices makes them ({quoted(dotted)})"
            way_out = "save it with torch.distributed.checkpoint, or give FSDP a device_mesh"
            raise UnknownFormat(self.subject, fact, way_out)
        known = dotted in _OF_TORCH or _is_class_of_library(module, name)
        return Name(dotted) if known else super().find(module, name)

    def call(self, callee: object, args: tuple[object, ...]) -> object:
        """Raises as `TorchVocabulary.call`; UnknownFormat for a DTensor of a version that is not known."""
        if isinstance(callee, Name):
            if callee.dotted in _OF_TORCH or _is_class_of_library(*callee.dotted.rsplit(".", 1)):
                return Inert(callee.dotted)
            if callee.dotted in _REBUILDS and _is_wrapped(args):
                return self._shard(args)
        return super().call(callee, args)

    def _shard(self, args: tuple[object, ...]) -> ShardRef:
        """(function, type, (type, dtype, shape, …), state): the state has the local tensor and the spec."""
        given, state = args[2], args[3]
        shape = given[2] if type(given) is tuple and len(given) > 2 else None
        # Fields in slots are pickled behind those of a __dict__, of which there are none.
        fields = state[1] if type(state) is tuple and len(state) == 2 else state
        local = fields.get("_local_tensor") if isinstance(fields, dict) else None
        spec = _fields(fields.get("_spec") if isinstance(fields, dict) else None)
        coordinate = _fields(spec.get("mesh")).get("_coordinate_on_dim")
        placements = spec.get("placements")
        if not isinstance(local, TensorRef) or shape_fault(shape) or type(shape) is not tuple:
            self.refuse("a DTensor has no local tensor or no shape")
        if not _is_place(coordinate) or type(placements) is not tuple or len(placements) != len(coordinate):  # type: ignore[arg-type]
            raise UnknownFormat(
                self.subject,
                "holds a DTensor that does not state its place in the mesh",
                "save it again with a newer torch, or as torch.distributed.checkpoint",
            )
        made = tuple(self._placement(found, len(shape)) for found in placements)
        return ShardRef(local, shape, made, tuple(coordinate))  # type: ignore[arg-type]

    def _placement(self, found: object, axes: int) -> Placement:
        kind = _PLACEMENTS.get(found.name) if isinstance(found, Inert) else None
        if kind is None:
            shown = quoted(found.name if isinstance(found, Inert) else type(found).__name__)
            raise UnknownFormat(
                self.subject,
                f"holds a DTensor that is placed as {shown}",
                "gather it where torch is (full_tensor()), and save that",
            )
        if kind == "replicate":
            return Placement(kind, 0, 1)
        fields = _fields(found)
        dim, factor = fields.get("dim"), fields.get("split_factor", 1)
        if type(dim) is not int or type(factor) is not int or not -axes <= dim < axes:
            self.refuse("a DTensor is cut along an axis that it has not")
        return Placement(kind, dim % axes, factor)


def _is_class_of_library(module: str, name: str) -> bool:
    """Whether a name is that of a class of a training library: each version pickles others among its arguments.

    Where such files lie these are honest, and here they are names with a state, as every other. A function is none.
    """
    return module.startswith(_LIBRARIES) and name[:1].isupper() and name.isidentifier()


def _is_wrapped(args: tuple[object, ...]) -> bool:
    """Whether a tensor with attributes is a DTensor."""
    if len(args) != 4:
        return False
    function, kind = args[0], args[1]
    of_dtensor = isinstance(kind, Name) and kind.dotted in _DTENSOR
    return isinstance(function, Name) and function.dotted == _WRAPPED and of_dtensor


def _fields(value: object) -> dict[str, object]:
    return value.state if isinstance(value, Inert) and isinstance(value.state, dict) else {}


def _is_place(value: object) -> bool:
    """Whether it is a coordinate: a few small numbers."""
    if not isinstance(value, (tuple, list)) or len(value) > MOST_AXES:
        return False
    return all(type(n) is int and 0 <= n < 1 << 20 for n in value)
