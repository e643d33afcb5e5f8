"""Modules whose tensors are in memory, and the weight that a scheme makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint import Storage, Tensor
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.layout import row_major
from weightsmith.schemes.arithmetic import plain_rows
from weightsmith.schemes.formula import Formula, flat_grid
from weightsmith.schemes.packed_module import PackedWeight, StoredModule
from weightsmith.schemes.registry import packed_weight
from weightsmith.schemes.stated import Stated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.arrays import Array, Singles

_DTYPES = {
    "int8": "I8", "uint8": "U8", "int16": "I16", "int32": "I32", "uint32": "U32", "int64": "I64",
    "float16": "F16", "float32": "F32",
}  # fmt: skip


def stored(
    arrays: Mapping[str, Array],
    section: Mapping[str, object] | None = None,
    description: Mapping[str, object] | None = None,
    dtypes: Mapping[str, str] | None = None,
) -> StoredModule:
    """A module `m` of these tensors. dtypes: safetensors names, where those of the arrays are not the stored ones."""
    tensors = {}
    for name, array in arrays.items():
        dtype = (dtypes or {}).get(name) or _DTYPES[array.dtype.name]
        assert array.size * BITS[dtype] // 8 == array.nbytes
        tensors[name] = Tensor(
            f"m.{name}", dtype, array.shape, Storage("f", 0, array.nbytes), 0, row_major(array.shape)
        )

    def read(tensor: Tensor) -> bytes:
        return arrays[tensor.name.removeprefix("m.")].tobytes()

    return StoredModule("m", "m.weight", tensors, frozenset(), read, Stated(section or {}, description or {}))


def weight_of(module: StoredModule) -> PackedWeight:
    found = packed_weight(module)
    assert found is not None
    return found


def made(module: StoredModule, arrays: Mapping[str, Array], step: int = 0, target: str = "F32") -> Singles:
    """The plain weight, made `step` rows of codes at a time; 0: all at once. By arithmetic of numpy's own indexing."""
    weight = weight_of(module)
    formula = weight.made
    assert isinstance(formula, Formula), formula
    assert weight.shape is not None
    rows = flat_grid(formula.codes)[0]
    unit = formula.turned or 1
    step = max(unit, (step or rows) // unit * unit)
    parts = []
    for once in range(formula.slices):
        for start in range(0, rows, step):
            stop, before = min(start + step, rows), once * rows
            blocks = [_grid(formula.codes, arrays)[start:stop]]
            for one in formula.operands:
                table = _grid(one.tensor, arrays)
                missing = -len(table) % one.rows
                units = np.pad(table, ((0, missing), (0, 0))).reshape(-1, one.rows * table.shape[1])
                blocks.append(units[np.arange(before + start, before + stop) // one.each])
            parts.append(plain_rows(formula, blocks, before + start, target).reshape(-1))
    return np.concatenate(parts).reshape(weight.shape)


def _grid(tensor: Tensor, arrays: Mapping[str, Array]) -> Array:
    """The patterns of a tensor, perhaps a view of the stored one, as [rows, columns]."""
    width = BITS[tensor.dtype] // 8
    flat = np.ascontiguousarray(arrays[tensor.name.removeprefix("m.")]).reshape(-1).view(f"u{width}")
    strides = [stride * width for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides)
    return np.ascontiguousarray(view).reshape(flat_grid(tensor))
