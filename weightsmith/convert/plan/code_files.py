"""The Python files that a checkpoint's configs name, and those that these take along. None is run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.auto_map import mapped
from weightsmith.checkpoint.small_file import names_in, read_small
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.place import Place

# As transformers finds them (dynamic_module_utils.py, `get_relative_imports`).
_IMPORT = re.compile(rb"^\s*(?:from\s+\.(\w+)\s+import|import\s+\.(\w+)\s*$)", re.MULTILINE)
_LARGEST = 4 << 20


def code_files(root: Place) -> frozenset[str]:
    """Names of the files in a folder that its configs name in `auto_map`, and of those that they import by `from .x`.

    A file that cannot be read names nothing.
    """
    there = {name for name in names_in(root) if name.endswith(".py")}
    found: set[str] = set()
    targets = [target for _, _, target in mapped(root) if "--" not in target] if there else []
    left = [name for name in (f"{target.partition('.')[0]}.py" for target in targets) if name in there]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [other for other in _imported(root / name) if other in there]
    return frozenset(found)


def _imported(path: Place) -> Iterator[str]:
    try:
        text = read_small(path, _LARGEST)
    except WeightsmithError:
        return
    for found in _IMPORT.finditer(text):
        yield f"{(found[1] or found[2]).decode()}.py"
