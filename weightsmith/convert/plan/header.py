"""The safetensors layout: order, header bytes and offsets of a file, known before any data is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from weightsmith.checkpoint.dtypes import BITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.convert.protocol import Output

# The reference writer (safetensors, `safetensors/src/tensor.rs`, `prepare`) puts tensors in descending order of their
# dtypes' sizes, so that each begins at a multiple of its own, and pads the header with spaces to a multiple of 8.
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class FileLayout:
    """Where everything stands in one file.

    header: the first bytes of the file.
    starts: tensor -> absolute byte of its first element.
    nbytes: of the file.
    """

    header: bytes
    starts: Mapping[str, int]
    nbytes: int


def size_of(output: Output) -> int:
    """Bytes of the tensor's elements."""
    return (prod(output.shape) * BITS[output.dtype] + 7) // 8


def lay_out(outputs: Sequence[Output], metadata: Mapping[str, str] | None = None) -> FileLayout:
    """One file with these tensors, in the order given among dtypes of a size.

    The reference writer goes on by name. The source's own order lets a torch file be read once, from its first byte to
    its last, and keeps neighbours together, whose chunks a hub has then; of what that writer wrote it is the same.

    metadata: entries of `__metadata__`, beside `format`.
    """
    ordered = sorted(outputs, key=lambda o: -max(8, BITS[o.dtype]))
    entries: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    offset = 0
    relative: dict[str, int] = {}
    for output in ordered:
        end = offset + size_of(output)
        entries[output.name] = {
            "dtype": output.dtype,
            "shape": list(output.shape),
            "data_offsets": [offset, end],
        }
        relative[output.name] = offset
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    data = 8 + len(text)
    starts = {name: data + start for name, start in relative.items()}
    return FileLayout(len(text).to_bytes(8, "little") + text, starts, data + offset)
