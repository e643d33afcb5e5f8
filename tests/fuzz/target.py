"""One process of the fuzzer: bytes in, a table that stands up to its file or one line of refusal out.

    python -m tests.fuzz.target NAME CORPUS [libFuzzer options]

Anything else ends the process with the input kept: another exception, two seconds, 500 MB (libFuzzer's limits), an
acceptance that the reference refuses, a tensor outside its file, or an act that no reader has to do (a process,
a socket, a file removed, a pickle's name looked up).
"""

from __future__ import annotations

import importlib
import io
import math
import os
import struct
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import atheris
import safetensors

with atheris.instrument_imports(
    include=[f"weightsmith.{room}" for room in ("checkpoint", "schemes", "shapes", "report", "foreign_text")],
    exclude=["weightsmith.shapes.learn", "weightsmith.shapes.reference"],
):
    # The readers that are imported only when a file needs them: an import under the watch would look like an act.
    for room in ("torch_distributed", "torch_legacy", "torch_zip"):
        importlib.import_module(f"weightsmith.checkpoint.{room}")
    from tests.fuzz import judged, structures
    from tests.fuzz.seeds import SHARDS, TENSORS
    from weightsmith.checkpoint import open_checkpoint
    from weightsmith.checkpoint.data import TensorReader
    from weightsmith.checkpoint.folder import METADATA_FILE
    from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint import Checkpoint

FORBIDDEN = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.chmod",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
    "compile",
    "ctypes.dlopen",
}
SHORT = 1 << 16
inside = False


def watch(event: str, args: object) -> None:
    if inside and event in FORBIDDEN:
        sys.stderr.write(f"FORBIDDEN {event}\n")
        os.abort()


def opened(path: Path) -> Checkpoint | None:
    global inside
    inside = True
    try:
        with judged.in_time():
            return open_checkpoint(path)
    except WeightsmithError as error:
        assert "\n" not in str(error), "the refusal is more than one line"
        return None
    finally:
        inside = False


def stands(table: Checkpoint) -> None:
    """Every tensor lies in its file, and small ones can be read."""
    with TensorReader(table) as reader:
        for tensor in table.tensors.values():
            for piece in tensor.pieces or (tensor,):
                end = piece.storage.start + piece.storage.nbytes
                assert 0 <= piece.storage.start <= end <= table.files[piece.storage.file], tensor.name
            if tensor.nbytes < SHORT:
                try:
                    reader.read(tensor)
                except WeightsmithError as error:  # a BOOL that is neither 0 nor 1
                    assert "BOOL" in str(error), error


def of_safetensors(data: bytes, folder: Path) -> None:
    """As they are, or as the header of an otherwise sound file: the mutator need not find the length by chance."""
    if data[:1] == b"{":
        data = struct.pack("<Q", len(data)) + data + bytes(4096)
    path = folder / "model.safetensors"
    path.write_bytes(data)
    table = opened(path)
    if table is not None and table.format == "safetensors":
        stands(table)
        safetensors.deserialize(data)  # what the reference refuses, we refuse


def of_torch(data: bytes, folder: Path) -> None:
    """A whole file, or the pickle of an otherwise sound archive."""
    path = folder / "pytorch_model.bin"
    path.write_bytes(archive(data) if data[:1] in (b"\x80", b"(", b"}") else data)
    table = opened(path)
    if table is not None:
        stands(table)


def of_distributed(data: bytes, folder: Path) -> None:
    """The `.metadata` beside the one file of a sound distributed checkpoint, which is in the corpus folder's parent."""
    (folder / METADATA_FILE).write_bytes(data)
    table = opened(folder)
    if table is not None:
        stands(table)


def of_index(data: bytes, folder: Path) -> None:
    """The text of an index, or choices among what an index may say."""
    text = data if data[:1] == b"{" else structures.index(data, list(TENSORS), SHARDS)
    (folder / "model.safetensors.index.json").write_bytes(text)
    table = opened(folder)
    if table is not None:
        stands(table)


def archive(pickle: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickle)
        for key in ("0", "1"):
            file.writestr(f"archive/data/{key}", bytes(64))
    return buffer.getvalue()


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    "safetensors": of_safetensors,
    "torch": of_torch,
    "distributed": of_distributed,
    "index": of_index,
    "config": lambda data, _: judged.of_config(data),
    "solver": lambda data, _: judged.of_damaged(data),
    "schemes": lambda data, _: judged.of_packed(data),
    "text": lambda data, _: judged.of_text(data),
}


def main() -> None:
    name, corpus = sys.argv[1], Path(sys.argv[2])
    folder = corpus.parent / "work"
    work = TARGETS[name]
    limit, judged.SLOWEST = judged.SLOWEST, math.inf
    for first in range(16):  # what is read once, such as pages, is no time of an input
        work(bytes([first]), folder)
    judged.SLOWEST = limit
    sys.addaudithook(watch)
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[3:]], lambda data: work(data, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
