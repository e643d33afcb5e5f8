"""Which code `--trust-remote-code` trusts: what lies in the checkpoint's folder, and nothing elsewhere."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.place import local_folder
from weightsmith.checkpoint.small_file import is_own
from weightsmith.errors import HostileCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.place import Place
    from weightsmith.json_value import Json, JsonObject

# `module.Class`. transformers also takes `owner/repository--module.Class`, any folder in that place, and a module that
# is a path.
_OWN = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", re.ASCII)
_WAY_OUT = "look at that code, copy it into the folder and name it there, or do without --trust-remote-code"


def own_code(config: JsonObject, place: Place) -> str | None:
    """The real path of the folder where `config` names classes in it by `auto_map`; None where it names none.

    Raises HostileCheckpoint where one of them, also of a config within, is elsewhere, or a Python file is a link that
    leads elsewhere; MissingInput for a remote folder, whose code nobody has looked at here. What trusted code itself
    imports or reads cannot be confined.
    """
    if not isinstance(config.get("auto_map"), dict):
        return None
    folder = local_folder(place, "code that is trusted (trust_remote_code)")
    for named in _words(config):
        if not _OWN.fullmatch(named):
            raise HostileCheckpoint(
                folder / "config.json",
                f"auto_map names {quoted(named)}, which is no code of this folder",
                _WAY_OUT,
            )
    root = folder.resolve()
    for file in root.glob("*.py"):
        real = os.path.realpath(file)
        if not is_own(real, root):
            raise HostileCheckpoint(file, f"is a link that leads out of the folder, to {real}", _WAY_OUT)
    return str(root)


def _words(config: JsonObject) -> Iterator[str]:
    """Every text under an `auto_map`, at any depth."""
    left: list[tuple[Json, bool]] = [(config, False)]
    while left:
        value, named = left.pop()
        if isinstance(value, dict):
            left += [(inner, named or key == "auto_map") for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(inner, named) for inner in value]
        elif named and isinstance(value, str):
            yield value
