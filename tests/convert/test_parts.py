"""A conversion in parts gives the folder that one run gives, in whatever order, wherever the parts run, and die."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess  # noqa: TC003 - a return type
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.convert.running import source_with_files_beside, start
from tests.values.making import save_bin
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.unfinished import PARTS, PLAN
from weightsmith.convert.parts.share import Part, parse_part, share
from weightsmith.convert.plan.header import FileLayout
from weightsmith.convert.plan.output_plan import OutputPlan
from weightsmith.errors import CorruptCheckpoint, MissingInput, TargetRefused, Usage
from weightsmith.library import convert

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.convert import Conversion

# Weights and what packs them: pairs of outputs that lie in other shards, made of one input.
PACKED = {"converter": "ternary", "options": {"group_size": "128", "pack": "int4"}, "max_shard_size": "1MB"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_with_files_beside(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    target = tmp_path_factory.mktemp("expected") / "out"
    convert(source, target, **PACKED)  # type: ignore[arg-type]
    return contents(target)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def part(source: Path, target: Path, which: str, **changed: object) -> Conversion:
    return convert(source, target, part=which, **{**PACKED, **changed})  # type: ignore[arg-type]


def join(source: Path, target: Path, **changed: object) -> Conversion:
    return convert(source, target, join=True, **{**PACKED, **changed})  # type: ignore[arg-type]


def noted(target: Path) -> dict[str, int]:
    """Weights file -> its number in the file system, of those that a part has noted as finished."""
    notes = (json.loads(path.read_text()) for path in (target / PARTS).glob("shard-*"))
    return {note["file"]: (target / note["file"]).stat().st_ino for note in notes}


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


# shares


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=40), st.integers(1, 60))
def test_every_file_is_in_one_part_and_the_files_of_a_part_are_neighbours(sizes: list[int], of: int) -> None:
    files = {f"{n}": FileLayout(b"", {}, size) for n, size in enumerate(sizes)}
    plan = OutputPlan((), {}, files, {})
    shares = [share(plan, Part(number, of)) for number in range(1, of + 1)]
    assert list(itertools.chain(*shares)) == list(files)


@given(st.integers(1, 50), st.integers(1, 50))
def test_equal_files_are_shared_equally(count: int, of: int) -> None:
    plan = OutputPlan((), {}, {f"{n}": FileLayout(b"", {}, 5000) for n in range(count)}, {})
    counts = [len(share(plan, Part(number, of))) for number in range(1, of + 1)]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "1.0/3", "1/4001", "١/٣"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(Usage, match="--part"):
        parse_part(text)


# the same folder


@pytest.mark.parametrize("order", [(1,), (2, 1), (1, 2, 3), (3, 1, 2), tuple(range(40, 0, -1))], ids=str)
def test_parts_in_any_order_make_the_folder_of_one_run(
    source: Path, tmp_path: Path, expected: dict[str, bytes], order: tuple[int, ...]
) -> None:
    target = tmp_path / "out"
    for number in order:
        part(source, target, f"{number}/{len(order)}")
    found = join(source, target)
    assert contents(target) == expected
    assert (found.part, found.document()["verdict"]) == (None, "written")


def test_parts_of_different_numbers_of_parts_complete_each_other(
    source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    target = tmp_path / "out"
    for which in ("1/2", "3/4", "4/4"):
        part(source, target, which)
    join(source, target)
    assert contents(target) == expected


def test_parts_at_the_same_time(source: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    target = tmp_path / "out"
    running = [_start(source, target, f"{number}/3") for number in (1, 2, 3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    join(source, target)
    assert contents(target) == expected


def _start(source: Path, target: Path, which: str, setup: str = "") -> subprocess.Popen[str]:
    chosen = f'convert = __import__("functools").partial(convert, max_shard_size="1MB", part="{which}")\n'
    return start(source, target, "ternary", setup + chosen, options=PACKED["options"])


def test_a_copy_of_the_source_on_another_machine_will_do(
    source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    copy = shutil.copytree(source, tmp_path / source.name, copy_function=shutil.copyfile)
    target = tmp_path / "out"
    part(source, target, "1/2")
    part(copy, target, "2/2")
    join(source, target)
    assert contents(target) == expected


def test_a_part_tells_how_far_all_are(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    first = part(source, target, "1/2").document()
    count = len(first["files"])
    assert first["verdict"] == "part"
    assert first["files"] == [path.name for path in shards(target)]
    assert first["part"] == {
        "number": 1,
        "of": 2,
        "there_before": 0,
        "finished": count,
        "files": first["part"]["files"],
    }
    assert first["bytes"]["written"] == sum(path.stat().st_size for path in shards(target))
    again = part(source, target, "1/2").document()
    assert again["part"]["there_before"] == count


def test_a_dry_run_of_a_part_writes_nothing(source: Path, tmp_path: Path) -> None:
    found = part(source, tmp_path / "out", "1/2", dry_run=True)
    assert found.document()["verdict"] == "planned"
    assert found.files
    assert not (tmp_path / "out").exists()


def test_what_is_joined_is_left_alone(source: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    target = tmp_path / "out"
    part(source, target, "1/1")
    join(source, target)
    before = {path.name: path.stat().st_ino for path in target.iterdir()}
    for found in (join(source, target), part(source, target, "1/1")):
        assert "joined before" in found.notes[-1]
    assert {path.name: path.stat().st_ino for path in target.iterdir()} == before


def test_what_is_joined_is_not_taken_for_other_work(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    part(source, target, "1/1")
    join(source, target)
    with pytest.raises(TargetRefused, match="of other work"):
        join(source, target, hash_name="sha256")
    other = shutil.copytree(source, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "other"}))
    with pytest.raises(TargetRefused, match="of other work"):
        part(other, target, "1/1")


# nothing unfinished passes for whole


def test_an_unfinished_folder_is_no_checkpoint(source: Path, tmp_path: Path) -> None:
    part(source, tmp_path / "out", "1/2")
    with pytest.raises(MissingInput, match="written in parts and not finished") as refused:
        open_checkpoint(tmp_path / "out")
    assert "--join" in refused.value.way_out


def test_a_join_names_what_is_missing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(MissingInput, match="holds no parts"):
        join(source, target)
    part(source, target, "1/2")
    with pytest.raises(MissingInput, match=r"lacks \d+ of \d+ weights files: 'model-\d+"):
        join(source, target)


def test_a_changed_shard_is_made_again(source: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    target = tmp_path / "out"
    part(source, target, "1/1")
    changed = shards(target)[1]
    raw = bytearray(changed.read_bytes())
    raw[-3] ^= 1
    changed.write_bytes(raw)
    with pytest.raises(TargetRefused, match=f"{changed.name}.*is not what its part wrote"):
        join(source, target)
    with pytest.raises(MissingInput, match=changed.name):
        join(source, target)
    part(source, target, "1/1")
    join(source, target)
    assert contents(target) == expected


def test_a_strange_file_stops_the_join(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    part(source, target, "1/1")
    (target / "modeling_evil.py").write_text("")
    with pytest.raises(TargetRefused, match=r"modeling_evil\.py"):
        join(source, target)


@pytest.mark.parametrize(
    "changed",
    [{"max_shard_size": "2MB"}, {"hash_name": "sha256"}, {"options": {"group_size": "64", "pack": "int4"}}],
)
def test_parts_of_other_work_do_not_mix(source: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    part(source, tmp_path / "out", "1/2")
    with pytest.raises(TargetRefused, match="parts of another conversion"):
        part(source, tmp_path / "out", "2/2", **changed)
    with pytest.raises(TargetRefused, match="parts of another conversion"):
        join(source, tmp_path / "out", **changed)


@pytest.mark.parametrize("name", ["config.json", "weightsmith.json", ".hidden"])
def test_a_folder_that_holds_something_is_not_written_to(source: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(TargetRefused, match="is not empty"):
        part(source, tmp_path / "out", "1/2")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


ONE_FILE = {"converter": "plain", "options": {}, "max_shard_size": "100KB"}


def one_file(folder: Path, seed: int = 0) -> tuple[Path, dict[str, torch.Tensor]]:
    """A source of one file, of which every weights file of the output is made."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {
        f"model.layers.{n}.mlp.up_proj.weight": torch.randn(64, 256, generator=draw).bfloat16()
        for n in range(8)
    }
    return save_bin(folder, tensors), tensors


def test_weights_that_were_exchanged_between_two_parts_are_refused(tmp_path: Path) -> None:
    """Another training of the same model has the same names, shapes and sizes of files."""
    one, _ = one_file(tmp_path / "one")
    other, _ = one_file(tmp_path / "other", seed=1)
    part(one, tmp_path / "out", "1/2", **ONE_FILE)
    with pytest.raises(TargetRefused, match="was begun with other weights of the same shapes"):
        part(other, tmp_path / "out", "2/2", **ONE_FILE)
    part(one, tmp_path / "out", "2/2", **ONE_FILE)
    join(one, tmp_path / "out", **ONE_FILE)


def test_two_copies_of_the_source_that_differ_are_found(tmp_path: Path) -> None:
    """Both parts read the file, the second from elsewhere, where a few numbers are others that no sample holds."""
    _, tensors = one_file(tmp_path / "bin")
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        save_file(tensors, folder / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"][3, :5] += 1
    os.utime(other / "model.safetensors", ns=(1, 1))  # the clock of files may not tell two moments apart
    part(one, tmp_path / "out", "1/2", **ONE_FILE)
    part(other, tmp_path / "out", "2/2", **ONE_FILE)
    with pytest.raises(TargetRefused, match="two parts read other bytes"):
        join(one, tmp_path / "out", **ONE_FILE)


def test_a_source_that_is_written_to_leaves_no_shard_that_counts(source: Path, tmp_path: Path) -> None:
    own = shutil.copytree(source, tmp_path / "own")
    (weights,) = own.glob("*.bin")

    def touch(done: int, total: int) -> None:
        os.utime(weights)

    with pytest.raises(CorruptCheckpoint, match="changed while it was converted"):
        part(own, tmp_path / "out", "1/1", progress=touch)
    assert not list((tmp_path / "out" / PARTS).glob("shard-*"))


# deaths

DIE_AFTER = """
import os, signal
from weightsmith.convert.parts import delivery
note, count = delivery.note_shard, [0]
def die(*entry):
    note(*entry)
    count[0] += 1
    if count[0] == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
delivery.note_shard = die
"""


@pytest.mark.parametrize("count", [1, 3])
def test_a_part_that_is_killed_goes_on_where_it_was(
    source: Path, tmp_path: Path, expected: dict[str, bytes], count: int
) -> None:
    target = tmp_path / "out"
    assert _start(source, target, "1/1", DIE_AFTER.format(count=count)).wait(60) == -signal.SIGKILL
    there = noted(target)
    assert len(there) >= count
    found = part(source, target, "1/1")
    assert found.part is not None
    assert found.part.there_before >= count
    assert there.items() <= {path.name: path.stat().st_ino for path in shards(target)}.items(), (
        "not written again"
    )
    join(source, target)
    assert contents(target) == expected


DIE_IN_JOIN = """
import os, signal
from weightsmith.convert.parts import join as module
from weightsmith.convert.destination import folder
moved, count = folder.move_file, [0]
def die(file, target):
    if count[0] == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
    moved(file, target)
    count[0] += 1
folder.move_file = die
removed = module.remove_notes
def die_at_the_end(destination):
    if {count} == 99:
        (destination.place / ".weightsmith-parts" / "plan.json").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    removed(destination)
module.remove_notes = die_at_the_end
convert = __import__("functools").partial(convert, max_shard_size="1MB", join=True)
"""


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 99])
def test_a_join_that_is_killed_is_run_again(
    source: Path, tmp_path: Path, expected: dict[str, bytes], count: int
) -> None:
    target = tmp_path / "out"
    part(source, target, "1/1")
    with start(
        source, target, "ternary", DIE_IN_JOIN.format(count=count), options=PACKED["options"]
    ) as process:
        assert process.wait(60) == -signal.SIGKILL
    if count != 99:
        assert (target / PARTS / PLAN).exists()
        with pytest.raises(MissingInput):
            open_checkpoint(target)
    join(source, target)
    assert contents(target) == expected


def test_the_same_part_twice_at_once_is_refused(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    found: list[BaseException] = []

    def again(done: int, total: int) -> None:
        if not found:
            with pytest.raises(TargetRefused, match="another conversion to the same target") as refused:
                part(source, target, "1/2")
            found.append(refused.value)

    part(source, target, "1/2", progress=again)
    assert found


def test_the_plan_is_one_of_many_that_come_first(source: Path, tmp_path: Path) -> None:
    """Of all parts that begin at once one makes the plan, whole; the others find it."""
    target = tmp_path / "out"
    running = [_start(source, target, f"{number}/8") for number in range(1, 9)]
    assert {process.wait(120) for process in running} == {0}
    assert json.loads((target / PARTS / PLAN).read_text())["tool"] == "weightsmith"
    assert not list((target / PARTS).glob(".*"))
