"""A limited address space: numpy starts in it, or is not asked to."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_NUMPY_IN = """
import resource
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
from weightsmith.process.address_space import begin_within_limit
begin_within_limit()
import os, numpy
print(os.environ.get("OPENBLAS_NUM_THREADS"))
"""


def _begun(limit: int, monkeypatch: pytest.MonkeyPatch) -> subprocess.CompletedProcess[str]:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    line = [sys.executable, "-c", _NUMPY_IN.format(limit=limit)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_numpy_starts_in_the_least_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _begun(200_000_000, monkeypatch).stdout == "1\n"


def test_less_is_refused_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = _begun(199_000_000, monkeypatch)
    assert "MachineFault" in refused.stderr
    assert "199 MB of address space, and 200 MB are needed" in refused.stderr


def test_a_large_limit_leaves_the_threads_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _begun(20_000_000_000, monkeypatch).stdout == "None\n"
