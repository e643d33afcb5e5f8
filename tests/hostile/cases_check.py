"""`check`, and several checkpoints at once: names that act in a report, long lists, a bad one in the middle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.hostile.attempt import Case
from tests.hostile.cases_ends import NAME
from tests.hostile.small import write_llama

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What begins something else in a workflow's log, in XML, in a URI.
ODD = f"{NAME} ##[x] ::error::%0A,]]><![CDATA[&"


def _one_odd(*words: str) -> Case:
    def make(folder: Path) -> list[str]:
        write_llama(folder / "sound")
        write_llama(folder / "other").rename(folder / ODD)
        return [*words, "sound", ODD, "absent", "sound"]

    return Case(f"check.odd.{'_'.join(words)}", make, exits=frozenset({2}))


def _many_files(folder: Path) -> list[str]:
    model = write_llama(folder / "model")
    rows = [{"file": f"f{number}", "bytes": 1, "hash": "00"} for number in range(200_000)]
    (model / "weightsmith.json").write_text(json.dumps({"hash": "blake3", "output": rows}))
    return ["check", "model"]


def _large_files(folder: Path) -> list[str]:
    """Ten gigabytes of holes that a manifest has hashes of."""
    model, rows = write_llama(folder / "model"), []
    for number in range(100):
        with (model / f"f{number}").open("wb") as file:
            file.truncate(100 << 20)
        rows.append({"file": f"f{number}", "bytes": 100 << 20, "hash": "00"})
    (model / "weightsmith.json").write_text(json.dumps({"hash": "sha256", "output": rows}))
    return ["check", "model"]


def _cases() -> Iterator[Case]:
    for form in ("github", "junit", "sarif"):
        yield _one_odd("check", f"--format={form}")
    yield _one_odd("infer-config", "--json")
    yield _one_odd("inspect")
    yield Case("check.many_files", _many_files, exits=frozenset({0}), says="sound: ")
    yield Case("check.large_files", _large_files, exits=frozenset({1}))


CASES = tuple(_cases())
