"""torch's zip files (torch.save since 1.6): the pickle gives the tensors, the archive their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.pickle_machine import read_pickle
from weightsmith.checkpoint.state_dict import big_endian, named_tensors, placed
from weightsmith.checkpoint.table import FilePart, Storage
from weightsmith.checkpoint.torch_dtypes import DTYPES
from weightsmith.checkpoint.torch_objects import StorageRef, TensorRef, TorchVocabulary
from weightsmith.checkpoint.zip_directory import read_directory
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.checkpoint.pickle_state import Vocabulary
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.zip_directory import Entry

# A tensor takes about 150 bytes of pickle: 64 MB are 400,000 tensors, and the pickle is held in memory.
LARGEST_PICKLE = 64 << 20


def read_torch_zip(file: ByteFile) -> FilePart:
    """The tensors of one torch zip file, in the order of its state dict.

    Raises CorruptCheckpoint, HostileCheckpoint, or UnknownFormat (TorchScript, a zip that is not torch's).
    """
    root, place, read = read_archive(file, TorchVocabulary(file.subject), sparing=file.costly)
    refs, problems = named_tensors(file.subject, root)
    tensors = {name: placed(file.subject, name, ref, place) for name, ref in refs.items()}
    return FilePart("torch-zip", tensors, {}, tuple(problems), read)


def need_as_read(file: ByteFile) -> None:
    """Before data of a remote file are read: every local header says what was made of the directory; `read_torch_zip`
    saw only those that came along. Other files are passed over. Raises CorruptCheckpoint.
    """
    if not file.costly or file.read(0, min(4, file.size)) != b"PK\x03\x04":
        return
    if read_directory(file.alone()) != read_directory(file, sparing=True):
        _refuse(file, "has zip entries that do not begin where their directory and its alignment put them")


def read_single_tensor(file: ByteFile, name: str) -> Tensor:
    """The one tensor that was saved by itself, without a state dict, under a name of the caller's.

    Raises as `read_torch_zip` does.
    """
    root, place, _ = read_archive(file, TorchVocabulary(file.subject), sparing=False)
    if not isinstance(root, TensorRef):
        _refuse(file, f"has a {type(root).__name__} where the tensor {quoted(name)} should be")
    return placed(file.subject, name, root, place)


def read_archive(
    file: ByteFile, vocabulary: Vocabulary, *, sparing: bool
) -> tuple[object, Callable[[StorageRef], Storage], int]:
    """What the archive's pickle describes, the function that finds a storage's bytes, and the pickle's bytes.

    vocabulary: what the pickle may name. sparing: of a remote file, see `read_directory`. Raises as `read_torch_zip`.
    """
    entries = read_directory(file, sparing=sparing)
    prefix = _prefix(file, entries)
    _refuse_unreadable(file, entries, prefix)
    pickle = entries[f"{prefix}data.pkl"]
    if pickle.nbytes > LARGEST_PICKLE:
        raise HostileCheckpoint(
            file.subject,
            f"holds a pickle of {pickle.nbytes:,} bytes, more than {LARGEST_PICKLE:,}",
            "weights lie outside the pickle: save the state dict alone, or as safetensors",
        )
    data = file.read(pickle.start, pickle.nbytes)
    root, _ = read_pickle(data, 0, file.subject, vocabulary)
    storages: dict[str, Storage] = {}

    def place(ref: StorageRef) -> Storage:
        # One storage may be named by thousands of tensors, and its key may be long. A key has one description
        # (TorchVocabulary.persistent), but for windows, which are refused.
        found = storages.get(ref.key)
        if found is None or ref.view:
            found = storages[ref.key] = _storage(file, entries.get(f"{prefix}data/{ref.key}"), ref)
        return found

    return root, place, pickle.nbytes


def _storage(file: ByteFile, entry: Entry | None, ref: StorageRef) -> Storage:
    """The bytes of a storage: those of its entry, whose size must be the one that the pickle states."""
    if entry is None:
        _refuse(file, f"the storage {quoted(ref.key)} is not in the archive")
    if ref.view:
        _refuse(file, f"the storage {quoted(ref.key)} is a window on another, which only legacy files have")
    if ref.numel * DTYPES[ref.dtype][0] != entry.nbytes:
        claim = f"{ref.numel:,} elements of torch.{ref.dtype}"
        _refuse(file, f"the storage {quoted(ref.key)} has {entry.nbytes:,} bytes, not {claim}")
    return Storage(file.name, file.origin + entry.start, entry.nbytes)


def _refuse_unreadable(file: ByteFile, entries: dict[str, Entry], prefix: str) -> None:
    """TorchScript, compressed entries, big-endian numbers."""
    if f"{prefix}constants.pkl" in entries or any(name.startswith(f"{prefix}code/") for name in entries):
        raise UnknownFormat(
            file.subject,
            "is a TorchScript archive, a program with its weights",
            "load it with torch.jit.load where you trust it and save its state_dict()",
        )
    packed = next((name for name, entry in entries.items() if entry.packed), None)
    if packed:
        raise CorruptCheckpoint(
            file.subject,
            f"the zip entry {quoted(packed)} is compressed, which torch.save never does",
            "store it uncompressed (unpack, then `zip -0 -r`), or get the original file",
        )
    order = entries.get(f"{prefix}byteorder")
    if order and file.read(order.start, min(order.nbytes, 16)) != b"little":
        raise big_endian(file.subject)


def _prefix(file: ByteFile, entries: dict[str, Entry]) -> str:
    """The archive's single top folder, with its slash: for torch, that of the entry which its directory names first."""
    found = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if not found:
        listed = ", ".join(quoted(name, 40) for name in list(entries)[:3]) or "nothing"
        raise UnknownFormat(
            file.subject,
            f"is a zip archive that torch did not write (no data.pkl; it holds {listed})",
            "unpack it if weights are inside",
        )
    if len(found) > 1:
        _refuse(file, f"holds {len(found)} pickles named data.pkl")
    folder = next(iter(entries)).partition("/")[0]
    if found[0] != f"{folder}/data.pkl":
        _refuse(file, f"keeps {quoted(found[0])}, but torch would look for {quoted(f'{folder}/data.pkl')}")
    return f"{folder}/"


def _refuse(file: ByteFile, fact: str) -> NoReturn:
    raise CorruptCheckpoint(file.subject, fact, "the file is damaged; download it again")
