"""The learner's report beside the pages: what was refused and why, one type a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from weightsmith.process.durable import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.json_value import JsonObject

# Not a page: catalog_types() lists *.json only.
REPORT = "REPORT.jsonl"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """What became of one type.

    reason: why there is no page, "" where there is one. unexpressed: how many roles and fields the page leaves open.
    seconds: of wall time. builds, proofs: how many configs were built, and how many of them proved the page; None
    where learning ended before. bytes: the size of the page's file.
    """

    model_type: str
    reason: str = ""
    unexpressed: int = 0
    seconds: float = 0.0
    builds: int | None = None
    proofs: int | None = None
    bytes: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the page explains everything."""
        return not self.reason and not self.unexpressed

    def document(self) -> JsonObject:
        return {key: value for key, value in asdict(self).items() if value is not None}


def read_report(folder: Path) -> dict[str, ReportRow]:
    """Model type → its row; empty where there is no report yet."""
    path = folder / REPORT
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [ReportRow(**json.loads(line)) for line in lines if line]
    return {row.model_type: row for row in rows}


def write_report(folder: Path, rows: Mapping[str, ReportRow]) -> None:
    lines = [json.dumps(rows[model_type].document()) for model_type in sorted(rows)]
    replace_file(folder / REPORT, ("\n".join(lines) + "\n").encode())
