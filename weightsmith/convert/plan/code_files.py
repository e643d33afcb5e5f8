"""The Python files that a checkpoint's configs name, and those that these take along. None is run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import CONFIG_FILE, read_json_object
from weightsmith.checkpoint.small_file import names_in, read_small
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What names classes of the model's own: `auto_map` in any of these.
_CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
# As transformers finds them (dynamic_module_utils.py, `get_relative_imports`).
_IMPORT = re.compile(rb"^\s*(?:from\s+\.(\w+)\s+import|import\s+\.(\w+)\s*$)", re.MULTILINE)
_LARGEST = 4 << 20


def code_files(root: Path) -> frozenset[str]:
    """Names of the files in a folder that its configs name in `auto_map`, and of those that they import by `from .x`.

    A file that cannot be read names nothing.
    """
    there = {name for name in names_in(root) if name.endswith(".py")}
    found: set[str] = set()
    left = [name for name in _named(root) if name in there] if there else []
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [other for other in _imported(root / name) if other in there]
    return frozenset(found)


def _named(root: Path) -> Iterator[str]:
    for file in _CONFIGS:
        try:
            named = read_json_object(root / file, CONFIG_FILE).get("auto_map")
        except WeightsmithError:
            continue
        for targets in named.values() if isinstance(named, dict) else ():
            for target in targets if isinstance(targets, list) else [targets]:
                if isinstance(target, str) and "--" not in target:
                    yield f"{target.partition('.')[0]}.py"


def _imported(path: Path) -> Iterator[str]:
    try:
        text = read_small(path, _LARGEST)
    except WeightsmithError:
        return
    for found in _IMPORT.finditer(text):
        yield f"{(found[1] or found[2]).decode()}.py"
