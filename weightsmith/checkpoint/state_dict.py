"""From the object that a torch file unpickles to, to named tensors whose views lie inside their storages."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.layout import MOST_ELEMENTS, row_major, span
from weightsmith.checkpoint.names import check_name, quoted, sample
from weightsmith.checkpoint.pickle_state import MOST_STEPS
from weightsmith.checkpoint.table import Problem, Storage, Tensor
from weightsmith.checkpoint.torch_dtypes import DTYPES
from weightsmith.checkpoint.torch_objects import StorageRef, TensorRef
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Callable

# Where training frameworks put the state dict: Lightning, DeepSpeed, fairseq, timm and plain tutorials.
_WRAPPERS = ("state_dict", "model", "module", "model_state_dict", "weights", "params")
_DEEPEST_WRAPPER = 4
# The most that a pickle of MOST_STEPS can describe, at 32 steps each; names for one description cost it two steps.
MOST_NAMED = MOST_STEPS // 32
# An expanded view repeats its bytes when read. Honest ones (a mask, a broadcast bias) stay far below this.
LARGEST_EXPANDED = 1 << 30


def named_tensors(subject: str, root: object) -> tuple[dict[str, TensorRef], list[Problem]]:
    """The tensors of the state dict in `root`, under their names, and what had to be left aside to find them.

    A wrapper such as {"epoch": 3, "state_dict": {...}} is entered where it holds more tensors than the level
    above. Values that are no tensors are left out. Raises UnknownFormat when there is no named tensor.
    """
    problems: list[Problem] = []
    level, path = root, ""
    found = _tensors(level)
    for _ in range(_DEEPEST_WRAPPER):
        if not isinstance(level, dict):
            break
        for key in _WRAPPERS:
            inner = level.get(key)
            if isinstance(inner, dict) and (_wrapped(inner) > len(found)):
                level, path, found = inner, f"{path}[{key!r}]", _tensors(inner)
                break
        else:
            break
    if not found:
        raise UnknownFormat(
            subject, _without_tensors(root), "save the state dict alone: torch.save(model.state_dict(), ...)"
        )
    if len(found) > MOST_NAMED:
        raise HostileCheckpoint(
            subject,
            f"names {len(found):,} tensors, more than {MOST_NAMED:,}",
            "no published model has so many in one file; save it in several shards",
        )
    if path:
        problems.append(
            Problem("nested", f"{subject}: the tensors lie under {path}; what is beside it was not read")
        )
    for name in found:
        check_name(subject, name)
    return found, problems


def _tensors(level: object) -> dict[str, TensorRef]:
    if not isinstance(level, dict):
        return {}
    return {name: value for name, value in level.items() if isinstance(value, TensorRef)}


def _wrapped(level: dict[str, object]) -> int:
    """Tensors at this level or under one of its wrappers."""
    counts = [len(_tensors(level))]
    for _ in range(_DEEPEST_WRAPPER):
        inner = next((level[key] for key in _WRAPPERS if isinstance(level.get(key), dict)), None)
        if not isinstance(inner, dict):
            break
        level = inner
        counts.append(len(_tensors(level)))
    return max(counts)


def _without_tensors(root: object) -> str:
    if isinstance(root, TensorRef):
        return "holds one tensor without a name, not a state dict"
    if isinstance(root, (list, tuple)):
        return "holds a list, not a state dict"
    if not isinstance(root, dict):
        return f"holds a {type(root).__name__}, not a state dict"
    if not root:
        return "holds an empty dictionary"
    return f"holds no tensor at its top level or under a usual wrapper; its keys are {sample(list(root), 5)}"


def placed(subject: str, name: str, ref: TensorRef, place: Callable[[StorageRef], Storage]) -> Tensor:
    """The tensor with its bytes: `place` finds a storage in the file, this checks the view against it.

    Raises CorruptCheckpoint (outside its storage, no data), UnknownFormat (a dtype that safetensors lacks) or
    HostileCheckpoint (a few bytes expanded into gigabytes).
    """
    if ref.storage is None:
        fact = f"tensor {quoted(name)} was saved from the meta device and has no values"
        _refuse(subject, fact, "save real weights")
    size, dtype = DTYPES[ref.dtype]
    if dtype is None:
        raise UnknownFormat(
            subject,
            f"tensor {quoted(name)} has the dtype torch.{ref.dtype}, which safetensors and vLLM lack",
            "convert it with torch before, or leave it out",
        )
    storage = place(ref.storage)
    needed = span(ref.shape, ref.strides)
    _check_view(subject, name, ref, needed, storage, size)
    offset = ref.offset if needed else 0
    if dtype == "F4":
        return _unpacked_fp4(subject, name, ref, storage, offset)
    return Tensor(name, dtype, ref.shape, storage, offset, ref.strides)


def _check_view(subject: str, name: str, ref: TensorRef, needed: int, storage: Storage, size: int) -> None:
    """Refuses a view that leaves its storage or repeats it too often. needed: elements that it spans. size: of one."""
    held = storage.nbytes // size
    if needed and ref.offset + needed > held:
        _refuse(
            subject, f"tensor {quoted(name)} ends at element {ref.offset + needed:,} of a storage of {held:,}"
        )
    expanded = prod(ref.shape) * size
    if expanded > max(LARGEST_EXPANDED, storage.nbytes):
        raise HostileCheckpoint(
            subject,
            f"tensor {quoted(name)} expands {storage.nbytes:,} bytes to {expanded:,}",
            "no honest weight does that; get the file from a source that you trust",
        )


def _unpacked_fp4(subject: str, name: str, ref: TensorRef, storage: Storage, offset: int) -> Tensor:
    """torch counts bytes of two FP4 values each, safetensors counts values: the last axis doubles."""
    contiguous = Tensor(name, "U8", ref.shape, storage, offset, ref.strides).contiguous
    if not ref.shape or not contiguous or ref.shape[-1] * 2 > MOST_ELEMENTS:
        _refuse(subject, f"tensor {quoted(name)} is a strided view of packed FP4", "save it contiguous")
    shape = (*ref.shape[:-1], ref.shape[-1] * 2)
    return Tensor(name, "F4", shape, storage, offset * 2, row_major(shape))


def big_endian(subject: str) -> UnknownFormat:
    """The error line for numbers in the other byte order."""
    return UnknownFormat(
        subject, "was written on a big-endian machine", "save it again on a little-endian one"
    )


def _refuse(subject: str, fact: str, way_out: str = "the file is damaged; download it again") -> NoReturn:
    raise CorruptCheckpoint(subject, fact, way_out)
