"""Whatever ends a conversion, the target is as before or complete; what a killed run leaves is cleaned by the next."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from tests.convert.running import is_complete, large_source, leftovers, run, start
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.convert.finish.leftovers import MARKER
from weightsmith.errors import CorruptCheckpoint, TargetRefused
from weightsmith.values.diff import diff

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_source(tmp_path_factory.mktemp("source"))


@pytest.mark.parametrize("converter", ["plain", "ternary"])
def test_killed_at_any_moment_it_leaves_nothing_that_looks_finished(
    source: Path, tmp_path: Path, converter: str
) -> None:
    target = tmp_path / "out"
    with start(source, target, converter) as process:
        began = _staging_seen(target, process)
        assert process.wait(timeout=60) == 0
        duration = time.monotonic() - began
    expected = {path.name: path.read_bytes() for path in target.iterdir()}
    shutil.rmtree(target)
    moments = random.Random(converter)
    complete = 0
    for _ in range(8):
        with start(source, target, converter) as process:
            _staging_seen(target, process)
            time.sleep(moments.uniform(0.0, 1.1) * duration)
            process.kill()
        if target.exists():
            assert {path.name: path.read_bytes() for path in target.iterdir()} == expected
            complete += 1
            shutil.rmtree(target)
    assert run(source, target, converter)[0] == 0
    assert is_complete(target)
    assert leftovers(target) == []
    print(
        f"8 kills within {duration:.2f} s of work: {complete} came too late, none left a half-finished target"
    )


def _staging_seen(target: Path, process: subprocess.Popen[str]) -> float:
    """Waits until this run has begun to write; the time of that moment."""
    before = set(leftovers(target))
    while process.poll() is None and not set(leftovers(target)) - before and not target.exists():
        time.sleep(0.002)
    return time.monotonic()


# Where to die: the statement that is replaced by a SIGKILL to itself.
POINTS = {
    "before the weights": ("weightsmith.convert.run", "write_weights"),
    "before reading back": ("weightsmith.convert.run", "verify"),
    "before the last sync": ("weightsmith.convert.stream.ordered_file", "Stream._seal"),
    "before the metadata": ("weightsmith.convert.finish.metadata", "create_file"),
    "before the manifest": ("weightsmith.convert.finish.metadata", "manifest"),
    "before finishing": ("weightsmith.convert.run", "finish"),
    "between marker and rename": ("weightsmith.convert.finish.staging", "sync_folder"),
}


@pytest.mark.parametrize(("module", "name"), POINTS.values(), ids=POINTS)
def test_killed_between_any_two_steps_the_target_is_as_before(
    source: Path, tmp_path: Path, module: str, name: str
) -> None:
    target = tmp_path / "out"
    die = (
        f"import importlib, os, signal\nmodule = importlib.import_module({module!r})\n"
        f"module.{name} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert run(source, target, setup=die)[0] == -signal.SIGKILL
    assert not target.exists()
    assert len(leftovers(target)) == 1
    convert(source, target)
    assert is_complete(target)
    assert leftovers(target) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_told_to_stop_it_cleans_up_at_once(source: Path, tmp_path: Path, number: int) -> None:
    target = tmp_path / "out"
    with start(source, target, "ternary", stdout=subprocess.DEVNULL) as process:
        while not leftovers(target) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert not target.exists()
    assert leftovers(target) == []


def test_a_living_run_is_not_cleaned_away_and_the_second_is_refused(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    wait = (
        "import time\nfrom weightsmith.convert import run\n"
        "v = run.verify\nrun.verify = lambda *a: (time.sleep(3), v(*a))"
    )
    with start(source, target, setup=wait) as process:
        while not leftovers(target):
            time.sleep(0.005)
        time.sleep(0.1)
        with pytest.raises(TargetRefused, match="another conversion"):
            convert(source, target)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert is_complete(target)


def test_only_what_is_provably_ours_is_removed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    foreign = tmp_path / ".out.weightsmith-0badcafe"
    (foreign / "keep").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARKER).touch()
    link = tmp_path / ".out.weightsmith-12345678"
    link.symlink_to(elsewhere)
    other = tmp_path / ".other.weightsmith-12345678"
    other.mkdir()
    (other / MARKER).touch()
    ours = tmp_path / ".out.weightsmith-87654321"
    ours.mkdir()
    (ours / MARKER).touch()
    convert(source, target)
    assert foreign.exists()
    assert link.is_symlink()
    assert (elsewhere / MARKER).exists()
    assert other.exists()
    assert not ours.exists()


def test_a_folder_that_holds_folders_is_none_of_ours(source: Path, tmp_path: Path) -> None:
    target, foreign = tmp_path / "out", tmp_path / ".out.weightsmith-0badcafe"
    (foreign / "deep" / "er").mkdir(parents=True)
    (foreign / MARKER).touch()
    half_made = tmp_path / ".out.weightsmith-0badcaff"
    (half_made / "mode-0123").mkdir(parents=True)
    (half_made / MARKER).touch()
    convert(source, target)
    assert (foreign / MARKER).exists() and (foreign / "deep" / "er").exists()
    assert not half_made.exists()


def test_a_source_truncated_meanwhile_is_noticed(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "source"
    shutil.copytree(source, copy)
    weights = copy / "pytorch_model.bin"
    for converter in ("plain", "ternary"):
        shutil.copyfile(source / "pytorch_model.bin", weights)
        cut = (
            "import os; from weightsmith.convert import run as r\n"
            f"w = r.write_weights\nr.write_weights = lambda *a: (os.truncate({str(weights)!r}, 10**6), w(*a))"
        )
        code, err = run(copy, tmp_path / "out", converter, cut)
        assert (code, len(err.splitlines())) == (1, 1)
        assert "changed" in err
        assert not (tmp_path / "out").exists()
        assert leftovers(tmp_path / "out") == []


def test_a_source_changed_meanwhile_is_noticed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "source"
    shutil.copytree(source, copy)

    def change_then_verify(*_: object) -> None:
        with (copy / "pytorch_model.bin").open("r+b") as file:
            file.seek(10**6)
            file.write(b"new")

    monkeypatch.setattr(import_module("weightsmith.convert.run"), "verify", change_then_verify)
    with pytest.raises(CorruptCheckpoint, match="changed while it was converted"):
        convert(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_lies_is_noticed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that does not arrive as written must not pass the reading back."""
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: len(data))
    with pytest.raises(CorruptCheckpoint, match="does not read back"):
        convert(source, tmp_path / "out", converter="ternary", options={"group_size": "128"})
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_the_number_of_workers_does_not_change_a_byte(source: Path, tmp_path: Path) -> None:
    for workers in (1, 2, 7):
        convert(
            source,
            tmp_path / str(workers),
            converter="ternary",
            options={"group_size": "128"},
            workers=workers,
            max_shard_size="20MB",
        )
    first = {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir()}
    assert len(first) == 11
    for workers in (2, 7):
        assert {path.name: path.read_bytes() for path in (tmp_path / str(workers)).iterdir()} == first


def test_values_survive_whatever_the_pieces(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", max_shard_size="30MB", workers=3)
    difference = diff(open_checkpoint(source), open_checkpoint(tmp_path / "out"))
    assert difference.verdict == "equal"
