"""Results of a verification that somebody else kept: the report of one shows them, and does nothing else."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hostile.attempt import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_KEPT = Path(__file__).parents[1] / "report" / "kept" / "hrm-text.json"
_ACTING = "\x1b]0;gone\x07\x1b[2J\x9b31m\u202e\u2028<script>alert(1)</script> ![x](https://example.org)"


def _acting(text: str) -> str:
    document = json.loads(text)
    document["model"]["name"] = document["prompts"][0]["answer"] = document["command_line"] = _ACTING
    document["checks"][0] |= {"detail": _ACTING, "verdict": "fail"}
    return json.dumps(document)


def _infinite(text: str) -> str:
    return text.replace('"kl_mean": ', '"kl_mean": -1e999, "was": ').replace(
        '"delta_max": ', '"delta_max": NaN, "had": '
    )


def _deep(text: str) -> str:
    return text.replace('"changes": []', f'"changes": {"[" * 90_000}{"]" * 90_000}')


def _report(change: Callable[[str], str], words: Sequence[str], folder: Path) -> list[str]:
    (folder / "kept.json").write_text(change(_KEPT.read_text(encoding="utf-8")), encoding="utf-8")
    return ["report", "kept.json", *words]


_GOOD, _FAILED = frozenset({0}), frozenset({2})
_PAGE = ("--output", "page.html")
CASES = (
    Case("report.acting text", partial(_report, _acting, ()), exits=_GOOD, says="verification report"),
    Case("report.impossible figures", partial(_report, _infinite, _PAGE), exits=_GOOD, writes=("page.html",)),
    Case("report.nested", partial(_report, _deep, _PAGE), exits=_FAILED, says="nested too deeply"),
    Case(
        "report.onto itself",
        partial(_report, str, ("-o", "kept.json")),
        exits=_FAILED,
        says="the result itself",
    ),
)
