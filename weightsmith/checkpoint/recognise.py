"""What kind of file the first bytes belong to, or why it is none that weightsmith reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from weightsmith.checkpoint.file_bytes import DOWNLOAD_ITSELF, LFS_POINTER, is_web_page
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.safetensors_file import LARGEST_HEADER
from weightsmith.errors import CorruptCheckpoint, MissingInput, UnknownFormat

if TYPE_CHECKING:
    from weightsmith.checkpoint.file_bytes import ByteFile

# The formats of single weights files.
FileFormat = Literal["safetensors", "torch-zip", "torch-legacy", "gguf"]
# torch's magic number as the first pickle of a legacy file, in pickle protocol 0 and 1.
_TEXT_MAGIC = b"L119547037146038801333356L\n."
_PICKLES = {bytes([0x80, protocol]) for protocol in range(2, 6)}
# A text pickle whose first act is to name a function: the pickle machine tells which.
_TEXT_PICKLE = re.compile(rb"[(\]}l]*[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
_GGUF = b"GGUF"
_GGML = (b"ggjt", b"tjgg", b"lmgg", b"ggml", b"fmgg")
_TORCH = "get the torch or safetensors version of the model"
# Other things that arrive under a weights file's name: first bytes, what it is, the way out.
_OTHERS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((_GGUF,), "is a GGUF file of llama.cpp under another name", "name it *.gguf; no other loader takes it"),
    (_GGML, "is a GGML file of llama.cpp from before GGUF", _TORCH),
    ((b"\x89HDF",), "is an HDF5 file (Keras or TensorFlow weights)", _TORCH),
    ((b"\x1f\x8b",), "is a gzip archive", "unpack it first"),
    (
        (b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"),
        "is a compressed archive",
        "unpack it first",
    ),
    ((b"PK\x05\x06",), "is an empty zip archive", "download it again"),
    ((b"\x93NUMPY",), "is a numpy array", _TORCH),
    (
        (b"\x7fELF", b"MZ"),
        "is a program, not weights",
        "do not run it; download the model again from its publisher",
    ),
)


def recognise(file: ByteFile) -> FileFormat:
    """The format of a weights file, by its first bytes.

    The loaders go by the name: transformers and vLLM give `*.safetensors` to safetensors, `*.gguf` to gguf and the rest
    to torch.load.
    A file that could be both has two contents, unless its name says that nobody asks torch.

    Raises CorruptCheckpoint (empty, or two formats at once), MissingInput (a git-lfs pointer) or UnknownFormat (names
    what it is).
    """
    if not file.size:
        raise CorruptCheckpoint(file.subject, "is empty (0 bytes)", "download it again")
    head = file.read(0, min(file.size, 512))
    torch = _torch_format(head)
    if _starts_safetensors(head):
        if torch is None or file.name.endswith(".safetensors"):
            return "safetensors"
        raise CorruptCheckpoint(
            file.subject,
            "begins as a safetensors file and as one of torch.save: two loaders could see two models in it",
            "name it *.safetensors if that is what it is (loaders go by the name); get it from a trusted source",
        )
    if torch is not None:
        return torch
    if head.startswith(_GGUF) and file.name.lower().endswith(".gguf"):
        return "gguf"
    _refuse_known(file, head)
    if file.name.endswith(".safetensors"):
        # Its parser says exactly what is wrong with the header.
        return "safetensors"
    raise UnknownFormat(
        file.subject,
        f"starts with {quoted(head[:8])}, which is neither safetensors nor a torch file",
        "weightsmith reads safetensors and files of torch.save (zip or legacy)",
    )


def _starts_safetensors(head: bytes) -> bool:
    """Whether the reference reader would find a header: a possible length, then `{`, before which it skips spaces."""
    begins = head[8:].lstrip(b" \t\r\n")[:1] in (
        b"{",
        b"",
    )  # nothing but spaces: the rest may follow behind `head`
    return begins and len(head) > 8 and int.from_bytes(head[:8], "little") <= LARGEST_HEADER


def _torch_format(head: bytes) -> FileFormat | None:
    """What torch.load would take the file for (torch/serialization.py, `_is_zipfile`); None for none of its formats."""
    if head.startswith(b"PK\x03\x04"):
        return "torch-zip"
    if head[:2] in _PICKLES or head.startswith(_TEXT_MAGIC) or _TEXT_PICKLE.match(head):
        return "torch-legacy"
    return None


def _refuse_known(file: ByteFile, head: bytes) -> None:
    if head.startswith(LFS_POINTER):
        raise MissingInput(
            file.subject,
            f"is a git-lfs pointer of {file.size} bytes, not the weights",
            "run `git lfs pull` in its folder, or download the file itself",
        )
    if is_web_page(head):
        raise UnknownFormat(file.subject, "is a web page saved under a weights file's name", DOWNLOAD_ITSELF)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        raise UnknownFormat(
            file.subject, "is JSON text, not weights", "name the checkpoint's folder, index or weights"
        )
    if head[257:262] == b"ustar":
        raise UnknownFormat(
            file.subject,
            "is a tar archive, the format of torch.save before 0.1.10",
            "load it with an old torch where you trust it and save it again",
        )
    for starts, what, way_out in _OTHERS:
        if head.startswith(starts):
            raise UnknownFormat(file.subject, what, way_out)
