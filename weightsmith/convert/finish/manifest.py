"""weightsmith.json: what was made, from what, how, and the hashes by which both can be told again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.convert.plan.output_config import ConfigChange


def manifest(
    converter: str,
    reason: str,
    options: Mapping[str, object],
    hash_name: str,
    source: Mapping[str, tuple[int, str]],
    output: Mapping[str, tuple[int, str]],
    changes: Sequence[ConfigChange],
    dropped: Mapping[str, str],
    left_out: Mapping[str, str],
) -> bytes:
    """source, output: file name -> (bytes, hash). No time and no path, so that equal work gives equal bytes."""
    document = {
        "tool": "weightsmith",
        "version": __version__,
        "converter": converter,
        "reason": reason,
        "options": dict(options),
        "hash": hash_name,
        "source": [{"file": f, "bytes": size, "hash": value} for f, (size, value) in sorted(source.items())],
        "output": [{"file": f, "bytes": size, "hash": value} for f, (size, value) in sorted(output.items())],
        "config_changes": [change.document() for change in changes],
        "dropped": dict(dropped),
        "left_out": dict(left_out),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
