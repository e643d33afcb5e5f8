"""weightsmith.json: what was made, from what, how, and the hashes by which both can be told again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.manifest_file import name_to_record
from weightsmith.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.convert.plan.conversion_plan import ConversionPlan


def manifest(
    plan: ConversionPlan,
    hash_name: str,
    source: Mapping[str, tuple[int, str]],
    output: Mapping[str, tuple[int, str]],
) -> bytes:
    """The file's bytes. No time and no path stand in it, so that equal work gives equal bytes.

    hash_name: the hash that `source` and `output` are made with.
    source, output: file name -> (bytes, hash). Of a file outside the source's folder the last part of its name is told.
    """
    document = {
        "tool": "weightsmith",
        "version": __version__,
        "converter": plan.converter,
        "reason": plan.reason,
        "options": dict(plan.recipe.options),
        "hash": hash_name,
        "source": _rows(source),
        "output": _rows(output),
        "config_changes": [change.document() for change in plan.config_changes],
        "config_guesses": dict(plan.guesses),
        "dropped": dict(plan.recipe.dropped),
        "left_out": {name_to_record(file): why for file, why in plan.side_files.left_out.items()},
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _rows(files: Mapping[str, tuple[int, str]]) -> list[dict[str, object]]:
    return [
        {
            "file": name_to_record(Path(file).name if Path(file).is_absolute() else file),
            "bytes": nbytes,
            "hash": digest,
        }
        for file, (nbytes, digest) in sorted(files.items())
    ]
