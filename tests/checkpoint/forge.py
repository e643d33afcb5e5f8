"""Forged files: safetensors headers and torch pickles assembled byte by byte, as no honest writer would."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def safetensors(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """header: a JSON value, or the raw header bytes. length: the stated header length, if not the true one."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    stated = len(raw) if length is None else length
    path.write_bytes(stated.to_bytes(8, "little") + raw + data)
    return path


def entry(dtype: str, shape: list[object], begin: object, end: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + len(raw).to_bytes(4, "little") + raw


def number(value: int) -> bytes:
    return b"I%d\n" % value


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def name(dotted: str) -> bytes:
    module, _, attribute = dotted.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def storage(key: str = "0", kind: str = "torch.FloatStorage", numel: int = 4, location: str = "cpu") -> bytes:
    return b"(" + text("storage") + name(kind) + text(key) + text(location) + number(numel) + b"tQ"


def tensor(
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
    offset: int = 0,
    source: bytes | None = None,
    rebuild: str = "torch._utils._rebuild_tensor_v2",
) -> bytes:
    """A tensor on a storage, as `_rebuild_tensor_v2` gets it."""
    begin = name(rebuild) + b"(" + (source or storage()) + number(offset)
    return begin + numbers(shape) + numbers(strides) + b"\x89" + name("collections.OrderedDict") + b")RtR"


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def program(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def torch_zip(
    path: Path,
    pickle: bytes,
    storages: Mapping[str, bytes] | None = None,
    extra: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A zip as torch lays it out. storages: key → bytes (default: four float32). extra: more entries by full name."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle)
        for key, data in (storages if storages is not None else {"0": bytes(16)}).items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
        for full, data in (extra or {}).items():
            archive.writestr(full, data)
    return path
