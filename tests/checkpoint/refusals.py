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


def soon() -> float:
    """CPU seconds that are no attack on this machine as busy as it is now: 6, or as often what a loop takes here.

    The slowest file takes 1 s where the loop takes 0.06 s. An attack that works takes minutes and more anywhere.
    """
    start = time.process_time()
    sum(number * number for number in range(1_000_000))
    return max(6.0, 100 * (time.process_time() - start))


def refused_soon(path: Path, kind: type[E], *words: str) -> None:
    """As `refused`, within as much CPU time as `soon` allows."""
    limit, start = soon(), time.process_time()
    refused(path, kind, *words)
    assert time.process_time() - start < limit
