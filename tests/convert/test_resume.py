"""`--resume` goes on with the shards that a killed run has finished; with nothing else, and never with a wrong byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.convert.running import large_source, leftovers, start
from weightsmith.convert import convert
from weightsmith.convert.finish.leftovers import MARKER
from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.convert import Conversion

ORDERS = {"converter": "ternary", "options": {"group_size": "128"}, "max_shard_size": "13MB", "workers": 2}

# The run kills itself when so many shards are finished and written down.
DIE = """
import os, signal
from weightsmith.convert.finish.journal import Journal
finished, count = Journal.finished, [0]
def die(self, *entry):
    finished(self, *entry)
    count[0] += 1
    if count[0] == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.finished = die
convert = __import__("functools").partial(convert, max_shard_size="13MB")
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    target = tmp_path_factory.mktemp("expected") / "out"
    convert(source, target, **ORDERS)  # type: ignore[arg-type]
    return contents(target)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed(source: Path, target: Path, shards: int) -> Path:
    """What a run leaves that dies after so many of its eight shards; the staging folder."""
    with start(source, target, "ternary", DIE.format(count=shards)) as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    (left,) = leftovers(target)
    return target.parent / left


def resume(source: Path, target: Path, **changed: object) -> Conversion:
    return convert(source, target, resume=True, **{**ORDERS, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_finished_shards_are_kept_and_the_result_is_that_of_one_run(
    source: Path, tmp_path: Path, expected: dict[str, bytes], shards: int
) -> None:
    target = tmp_path / "out"
    left = killed(source, target, shards)
    recorded = [json.loads(line)["file"] for line in (left / MARKER).read_text().splitlines()[1:]]
    assert len(recorded) >= shards
    numbers = {file: (left / file).stat().st_ino for file in recorded}
    found = resume(source, target)
    assert f"{len(recorded)} of 8" in found.notes[-1]
    assert contents(target) == expected
    assert {file: (target / file).stat().st_ino for file in recorded} == numbers, (
        "the same files, not new ones"
    )
    assert leftovers(target) == []


def test_a_finished_shard_with_another_byte_is_made_anew(
    source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    target = tmp_path / "out"
    left = killed(source, target, 3)
    with (left / "model-00002-of-00008.safetensors").open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"\xff")
    os.truncate(left / "model-00001-of-00008.safetensors", 1000)
    found = resume(source, target)
    assert found.notes[-1].startswith(
        ("1 of 8", "2 of 8")
    )  # a fourth may have been written down before the kill
    assert contents(target) == expected


def test_other_work_is_begun_anew(source: Path, tmp_path: Path) -> None:
    for number, change in enumerate(
        (
            {"options": {"group_size": "64"}},
            {"hash_name": "sha256"},
            {"max_shard_size": "20MB"},
            {"allow_damage": True},
            {"source": 1},
        )
    ):
        target = tmp_path / str(number)
        copy = tmp_path / f"source{number}"
        shutil.copytree(source, copy)
        left = killed(copy, target, 2)
        if change.pop("source", None):
            os.utime(copy / "pytorch_model.bin", (1, 1))
        found = resume(copy, target, **change)
        assert not any("killed run" in note for note in found.notes)
        assert not left.exists()


def test_without_resume_everything_is_made_anew(
    source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    target = tmp_path / "out"
    left = killed(source, target, 3)
    convert(source, target, **ORDERS)  # type: ignore[arg-type]
    assert contents(target) == expected
    assert not left.exists()


def test_a_journal_that_was_cut_or_spoilt_counts_as_far_as_it_can_be_read(
    source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    for number, spoil in enumerate(
        (
            lambda text: text[:-20],
            lambda text: text.replace(b'"hash"', b"\xff", 1),
            lambda text: b"[1]\n",
            bytes,
        )
    ):
        target = tmp_path / str(number)
        left = killed(source, target, 2)
        journal = (left / MARKER).read_bytes()
        (left / MARKER).write_bytes(spoil(journal) if number < 3 else b"")
        resume(source, target)
        assert contents(target) == expected


def test_killed_again_and_again_it_arrives(source: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    target = tmp_path / "out"
    setup = DIE.format(count=4).replace("max_shard_size", "resume=True, max_shard_size")
    kills = 0
    while not target.exists():
        with start(source, target, "ternary", setup) as process:
            kills += process.wait(timeout=60) == -signal.SIGKILL
        assert kills < 9
    assert kills
    assert contents(target) == expected


def test_a_living_run_is_not_taken_over(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    wait = (
        "import time\nfrom weightsmith.convert import run\n"
        "v = run.verify\nrun.verify = lambda *a: (time.sleep(3), v(*a))"
    )
    with start(source, target, "ternary", setup=wait) as process:
        while not leftovers(target):
            assert process.poll() is None
        with pytest.raises(TargetRefused, match="another conversion"):
            resume(source, target)
        process.communicate(timeout=60)
    assert process.returncode == 0
