"""A temporary folder that only this user may enter, and the one line where there is no room for it."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def scratch_folder(prefix: str = "weightsmith-") -> Iterator[Path]:
    """A new folder in TMPDIR, gone with all that is in it when the block ends.

    Raises TargetRefused where it cannot be made, or the block finds no room in it.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise _refused(os.environ.get("TMPDIR") or "/tmp", error) from error
    with made as name:
        try:
            yield Path(name)
        except OSError as error:
            if error.errno in _NO_ROOM or str(error.filename or "").startswith(name):
                raise _refused(name, error) from error
            raise


def _refused(place: str, error: OSError) -> TargetRefused:
    reason = (error.strerror or "unknown").lower()
    return TargetRefused(place, f"cannot be written ({reason})", "set TMPDIR to a folder with room")
