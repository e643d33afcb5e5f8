"""Standard streams that cannot fail: what cannot be encoded is spelled, what cannot be written is dropped and known."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from _typeshed import ReadableBuffer

# Our own signs where a stream's encoding lacks them (GBK, Latin-1, ASCII).
_SIGNS = {
    "✓": "+", "✗": "x", "·": "-", "…": "...", "→": "->", "−": "-", "–": "-", "‖": "||",
    "×": "x", "≤": "<=", "≥": ">=", "≠": "!=", "Δ": "delta", "Σ": "sum", "∞": "inf", "’": "'", "“": '"', "”": '"',
    **dict(zip("▁▂▃▄▅▆▇█", "._-=+*%#", strict=True)),
}  # fmt: skip
_SPELLED = "weightsmith.spelled"


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """How codecs asks for what cannot be encoded: a sign's spelling, else an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (_SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking)
    return "".join(escaped), error.end


codecs.register_error(_SPELLED, _spelled)


class _Outlet(io.FileIO):
    """A standard stream's descriptor, to which a write never fails: what cannot be written any more is dropped.

    fault: why the stream is incomplete; None also where the reader went away, who has read what they wanted.
    """

    fault: OSError | None = None
    _shut = False

    def write(self, data: ReadableBuffer, /) -> int:
        while not self._shut:
            try:
                written = super().write(data)
            except OSError as error:
                self._shut = True
                self.fault = None if isinstance(error, BrokenPipeError) else error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # whoever started us made it non-blocking
        return len(memoryview(data))


def open_streams() -> None:
    """Makes stdout and stderr streams that cannot fail, see `fault`. A closed one, and a closed stdin, is nowhere.

    A descriptor that stays closed would be given to the next file that is opened, and what is printed would go there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)


def _stream(descriptor: int, before: TextIO | None) -> TextIO:
    encoding, at_once = "utf-8", descriptor == 2
    if isinstance(before, io.TextIOWrapper):
        encoding, at_once = before.encoding, at_once or before.line_buffering or before.write_through
    outlet = io.BufferedWriter(_Outlet(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(outlet, encoding, errors=_SPELLED, line_buffering=at_once)


def fault(stream: TextIO) -> OSError | None:
    """Why what was written to a stream is incomplete; None where it is not, or where nobody reads it any more."""
    outlet = getattr(getattr(stream, "buffer", None), "raw", None)
    return outlet.fault if isinstance(outlet, _Outlet) else None


def encodable(text: str, stream: TextIO) -> str:
    """The text as the stream will have it: as wide as it will be there."""
    encoding = stream.encoding or "utf-8"
    return text if text.isascii() else text.encode(encoding, _SPELLED).decode(encoding)
