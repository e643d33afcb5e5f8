"""Why types have no page: a file beside the pages, one type a line, made by the run that learned them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.process.durable import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Not a page: those are *.json.
REFUSED = "refused.jsonl"


def read_refusals(catalog: Path) -> dict[str, str]:
    """Model type → why it has no page. Without a file every type has one."""
    path = catalog / REFUSED
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line]
    return {row["model_type"]: row["reason"] for row in rows}


def write_refusals(catalog: Path, refused: Mapping[str, str]) -> None:
    """Sorted by type; no file where there is nothing to say."""
    if not refused:
        (catalog / REFUSED).unlink(missing_ok=True)
        return
    rows = [{"model_type": model_type, "reason": refused[model_type]} for model_type in sorted(refused)]
    replace_file(catalog / REFUSED, "".join(json.dumps(row) + "\n" for row in rows).encode())
