"""Every hostile case keeps the promise that tests/hostile/__init__.py states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.attempt import Case, attempt
from tests.hostile.registry import some_cases

if TYPE_CHECKING:
    from pathlib import Path

# The machine of the tests does other things at the same time.
_PATIENCE = 2.0


@pytest.mark.parametrize("case", some_cases(), ids=lambda case: case.name)
def test_promise(case: Case, tmp_path: Path) -> None:
    if lack := case.lacks():
        pytest.skip(lack)
    outcome = attempt(case, tmp_path, patience=_PATIENCE)
    assert not outcome.broken, f"exit {outcome.code}\n{outcome.stdout[-800:]}\n{outcome.stderr[-800:]}"
