"""Which versions belong together: every published vllm-ascend, as its makers matched it (releases.json).

The table is data with source and date, written by tools/ascend_releases.py. The METADATA of what is installed comes
first: it knows its own pins, also where the table does not know the release.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.version import Version

from weightsmith.records import Record

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet


@dataclass(frozen=True, slots=True)
class Stack:
    """What one source puts together; empty where it does not say. source: "matrix", or a Dockerfile with its date."""

    source: str
    cann: str = ""
    torch: str = ""
    torch_npu: str = ""
    triton_ascend: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """A published vllm-ascend. vllm: the versions that it runs with. python: a range. chips: families with an image.

    requires: partner → what its METADATA requires, "" for any version.
    """

    version: str
    released: str
    vllm: tuple[str, ...]
    python: str
    chips: tuple[str, ...]
    requires: Mapping[str, str]
    stacks: tuple[Stack, ...]

    @property
    def is_final(self) -> bool:
        """Neither a candidate nor a post release."""
        return self.version.replace(".", "").isdecimal()


@dataclass(frozen=True, slots=True)
class _Row(Record):
    """A release as it stands in the file."""

    released: str
    vllm: tuple[str, ...]
    python: str
    chips: tuple[str, ...]
    requires: Mapping[str, str]
    stacks: tuple[Mapping[str, str], ...]


@cache
def _document() -> dict[str, dict[str, dict[str, object]]]:
    text = resources.files("weightsmith.machine").joinpath("releases.json").read_text(encoding="utf-8")
    document: dict[str, dict[str, dict[str, object]]] = json.loads(text)
    return document


def table_date() -> str:
    return str(_document()["source"]["date"])


@cache
def all_releases() -> tuple[Release, ...]:
    """Oldest first."""
    return tuple(_release(version, row) for version, row in _document()["vllm_ascend"].items())


def _release(version: str, row: Mapping[str, object]) -> Release:
    read = _Row.from_json(row)
    stacks = tuple(Stack(stack.pop("from"), **stack) for stack in map(dict, read.stacks))
    return Release(version, read.released, read.vllm, read.python, read.chips, read.requires, stacks)


def release(version: str) -> Release | None:
    """The row of an installed version; a commit behind it (`0.18.0+g1a2b3c`) is no other release."""
    return next((row for row in all_releases() if row.version == public(version)), None)


def cann_of_torch_npu(version: str) -> str | None:
    """The CANN that a build of torch_npu was made for, where its makers list that build."""
    made_for = _document()["torch_npu"].get(public(version))
    return None if made_for is None else str(made_for)


def public(version: str) -> str:
    """A version without what stands behind a plus: `2.9.0.post1+git4c901a4` is 2.9.0.post1."""
    try:
        return Version(version).public
    except ValueError:  # no version, or one of thousands of digits
        return version.partition("+")[0]


def contains(limits: SpecifierSet, version: str) -> bool:
    """Whether a version is within limits, candidates included; what is no version is not."""
    try:
        return limits.contains(Version(version), prereleases=True)
    except ValueError:
        return False


def requirement(lines: Iterable[str], package: str) -> SpecifierSet | None:
    """What METADATA requires of another package, markers minded and extras left out; None where it says nothing."""
    found = None
    for line in lines:
        try:
            stated = Requirement(line)
            here = stated.marker is None or stated.marker.evaluate({"extra": ""})
        except ValueError:  # not well formed
            continue
        if here and stated.name.lower().replace("_", "-") == package:
            found = stated.specifier if found is None else found & stated.specifier
    return found
