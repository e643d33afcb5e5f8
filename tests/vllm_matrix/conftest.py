"""Fixtures of the matrix, and the table that it prints at its end."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cells import MATRIX, RESULTS, Reference, make_reference


@pytest.fixture(scope="session")
def reference() -> Reference:
    shutil.rmtree(RESULTS, ignore_errors=True)
    return make_reference(MATRIX / "reference")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    if not lines:
        return
    terminalreporter.section("matrix: largest |Δ log p|, fp32, all positions")
    terminalreporter.write_line(
        f"{'cell':<44}{'prefix ref.':>13}{'causal ref.':>13}{'tokens equal':>14}{'seconds':>9}"
    )
    for line in lines:
        terminalreporter.write_line(
            f"{line['name']:<44}{line['prefix']:>13.1e}{line['causal']:>13.2f}{line['equal']:>14}{line['seconds']:>9.0f}"
        )
