"""What a tensor may be called, and how text from a file is shown inside one line of an error."""

from __future__ import annotations

import re

from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint

# A part of a tensor's name that is a number, such as the layer.
_INDEX = re.compile(r"(?<![^.])[0-9]+(?![^.])")

# The longest names in the wild (diffusion adapters) stay under 300 bytes; 4096 leaves room and bounds a line.
LONGEST_NAME = 4096


def quoted(text: object, limit: int = 120) -> str:
    """`text` as one printable line: control characters escaped, long text cut in the middle.

    Never walks into a container (one from a hostile pickle may be a billion elements when printed): anything
    but text and numbers is shown as the name of its type.
    """
    if isinstance(text, int) and abs(text) > 10**40:
        return f"an integer of {text.bit_length()} bits"
    if not isinstance(text, (str, bytes, int, float)) and text is not None:
        return f"<{type(text).__name__}>"
    if isinstance(text, (str, bytes)) and len(text) > 2 * limit:
        text = text[: 2 * limit]
    shown = ascii(text)
    return shown if len(shown) <= limit else f"{shown[: limit // 2]}...{shown[-limit // 4 :]}"


def without_indices(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` as `model.layers.*.mlp.up_proj.weight`."""
    return _INDEX.sub("*", name)


def sample(names: list[str], limit: int = 3) -> str:
    """The first few names of a list, with how many more there are."""
    shown = ", ".join(quoted(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def check_name(subject: str, name: str) -> None:
    """A tensor name that any later reader, file system or terminal could stumble over is refused.

    The reference safetensors reader takes empty names, NUL and `../` (field-notes, 2).
    Raises CorruptCheckpoint (empty, too long, unprintable) or HostileCheckpoint (a path that climbs).
    """
    if not name or len(name) > LONGEST_NAME:
        raise CorruptCheckpoint(
            subject,
            f"a tensor has a name of {len(name)} characters",
            f"names must have 1 to {LONGEST_NAME} (the reference reader does not check); save the file again",
        )
    # isprintable is one C loop and true for nearly every honest name; only the rest is looked at closely.
    if not name.isprintable() and any(_unprintable(char) for char in name):
        raise CorruptCheckpoint(
            subject,
            f"the tensor name {quoted(name)} contains control characters or half a surrogate pair",
            "the reference reader may accept it, weightsmith does not; save the file again under clean names",
        )
    if ".." in name and ".." in name.replace("\\", "/").split("/"):
        raise HostileCheckpoint(
            subject,
            f"the tensor name {quoted(name)} climbs out of its folder",
            "the reference reader accepts it, but a tool that writes a file per tensor would be led astray: "
            "get the file from a source that you trust",
        )


def _unprintable(char: str) -> bool:
    return char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff"
