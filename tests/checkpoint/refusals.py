"""Asserts that a file is refused as the command line promises: one clear line, and nothing else happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import pytest

from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path

E = TypeVar("E", bound=WeightsmithError)


def refused(path: Path, kind: type[E], *words: str) -> E:
    """Opens `path`, expects exactly `kind`, and checks the line: it holds `words`, names the file, gives a way out."""
    with pytest.raises(WeightsmithError) as caught:
        open_checkpoint(path)
    error = caught.value
    assert type(error) is kind or (kind is not WeightsmithError and isinstance(error, kind)), repr(error)
    line = str(error)
    assert line.isprintable() and len(line) < 600 + len(error.subject), line
    assert str(path) in error.subject or str(path.parent) in error.subject
    assert error.fact and error.way_out
    for word in words:
        assert word in line, line
    return error


SECONDS = 6.0  # CPU time on two busy cores; the slowest takes 1 s on an idle machine


def refused_soon(path: Path, kind: type[E], *words: str) -> None:
    """As `refused`, within SECONDS of CPU time."""
    start = time.process_time()
    refused(path, kind, *words)
    assert time.process_time() - start < SECONDS
