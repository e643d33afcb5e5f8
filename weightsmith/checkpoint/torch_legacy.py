"""torch's oldest readable files (torch.save before 1.6): five pickles, then the storages one after another.

Order (torch/serialization.py, `_legacy_save`): magic number, protocol version, system information, the
object, the list of storage keys; then for each key an int64 element count and the raw elements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.pickle_machine import read_pickle
from weightsmith.checkpoint.pickle_state import Truncated
from weightsmith.checkpoint.state_dict import big_endian, named_tensors, placed
from weightsmith.checkpoint.table import FilePart, Storage
from weightsmith.checkpoint.torch_dtypes import DTYPES
from weightsmith.checkpoint.torch_objects import StorageRef, TorchVocabulary
from weightsmith.checkpoint.torch_zip import LARGEST_PICKLE
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from weightsmith.checkpoint.file_bytes import ByteFile

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_FIRST_HEAD = 1 << 20


def read_torch_legacy(file: ByteFile) -> FilePart:
    """The tensors of one legacy file, in the order of its state dict.

    Raises CorruptCheckpoint, HostileCheckpoint, or UnknownFormat (a pickle that torch.save did not write).
    """
    root, keys, data_start, mentioned = _pickles(file)
    refs, problems = named_tensors(file.subject, root)
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        _refuse(file, "its list of storages is malformed")
    if len(set(keys)) != len(keys):
        _refuse(file, "its list of storages names one twice")
    places = _storages_behind(file, keys, mentioned, data_start)
    views: dict[StorageRef, Storage] = {}

    def place(ref: StorageRef) -> Storage:
        whole = places.get(ref.key)
        if whole is None:
            _refuse(file, f"the storage {quoted(ref.key)} is not in the file")
        if ref.view is None:
            return whole
        if ref not in views:
            first, count = ref.view
            size = DTYPES[ref.dtype][0]
            if (first + count) * size > whole.nbytes:
                _refuse(file, f"a view on storage {quoted(ref.key)} reaches beyond its end")
            views[ref] = Storage(file.name, whole.start + first * size, count * size)
        return views[ref]

    tensors = {name: placed(file.subject, name, ref, place) for name, ref in refs.items()}
    return FilePart("torch-legacy", tensors, {}, tuple(problems), data_start)


def _pickles(file: ByteFile) -> tuple[object, object, int, dict[str, StorageRef]]:
    """(object, storage keys, first byte behind the pickles, storages that the object mentions).

    Reads a growing head of the file: how long the pickles are stands nowhere.
    """
    head = _FIRST_HEAD
    while True:
        data = file.read(0, min(head, file.size))
        try:
            words = TorchVocabulary(file.subject)
            return (*_sequence(file, data, words), words.storages)
        except Truncated:
            if head >= file.size:
                raise
            if head >= LARGEST_PICKLE:
                raise HostileCheckpoint(
                    file.subject,
                    f"its pickles do not end within {LARGEST_PICKLE:,} bytes",
                    "weights lie outside the pickles: save the state dict alone, or as safetensors",
                ) from None
            head = LARGEST_PICKLE


def _sequence(file: ByteFile, data: bytes, words: TorchVocabulary) -> tuple[object, object, int]:
    magic, at = read_pickle(data, 0, file.subject, words)
    if magic != MAGIC or type(magic) is not int:
        raise UnknownFormat(
            file.subject,
            "is a pickle, but not one that torch.save wrote (its magic number is missing)",
            "save the tensors with torch.save(state_dict, ...) or as safetensors",
        )
    protocol, at = read_pickle(data, at, file.subject, words)
    if protocol != _PROTOCOL or type(protocol) is not int:
        _refuse(file, f"states torch's protocol {quoted(protocol)}, not {_PROTOCOL}")
    system, at = read_pickle(data, at, file.subject, words)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise big_endian(file.subject)
    root, at = read_pickle(data, at, file.subject, words)
    keys, at = read_pickle(data, at, file.subject, words)
    return root, keys, at


def _storages_behind(
    file: ByteFile, keys: list[str], mentioned: dict[str, StorageRef], at: int
) -> dict[str, Storage]:
    """Every storage's bytes, found by stepping from one element count to the next."""
    places: dict[str, Storage] = {}
    for key in keys:
        ref = mentioned.get(key)
        if ref is None:
            _refuse(file, f"the storage {quoted(key)} follows the pickles, but they do not mention it")
        count = int.from_bytes(file.read(at, 8), "little", signed=True)
        if count != ref.numel:
            _refuse(file, f"the storage {quoted(key)} states {count:,} elements, the pickle {ref.numel:,}")
        nbytes = count * DTYPES[ref.dtype][0]
        if at + 8 + nbytes > file.size:
            _refuse(
                file,
                f"the storage {quoted(key)} needs {nbytes:,} bytes at {at + 8:,} of {file.size:,}: truncated",
            )
        places[key] = Storage(file.name, at + 8, nbytes)
        at += 8 + nbytes
    if at != file.size:
        _refuse(file, f"{file.size - at:,} bytes follow the last storage")
    return places


def _refuse(file: ByteFile, fact: str) -> NoReturn:
    raise CorruptCheckpoint(file.subject, fact, "the file is damaged; download it again")
