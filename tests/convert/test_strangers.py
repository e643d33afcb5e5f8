"""What is written is only ours: whatever others put, swap or plant meanwhile, they get none of it into an output."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.convert.running import leftovers, start
from tests.values.making import latent_llama, save
from weightsmith.checkpoint.hashing import file_hash
from weightsmith.convert import convert
from weightsmith.convert.finish import staging as staging_module
from weightsmith.convert.finish.hash_check import check_hashes
from weightsmith.convert.finish.leftovers import MARKER, STAGING, clean_leftovers
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, MissingInput, TargetRefused

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = import_module("weightsmith.convert.run")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = save(tmp_path / "source", latent_llama())
    (folder / "tokenizer.json").write_text("{}")
    (folder / "LICENSE").write_text("MIT")
    return folder


def staging_of(target: Path) -> Path:
    (name,) = leftovers(target)
    return target.parent / name


def before(monkeypatch: pytest.MonkeyPatch, step: str, deed: Callable[[], object]) -> None:
    """Does the deed before the first call of a step of `run`."""
    real = getattr(RUN, step)
    done: list[int] = []

    def hooked(*args: object, **kwargs: object) -> object:
        if not done:
            done.append(1)
            deed()
        return real(*args, **kwargs)

    monkeypatch.setattr(RUN, step, hooked)


def test_nobody_else_may_enter_the_unfinished_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, modes = tmp_path / "out", []
    before(monkeypatch, "verify", lambda: modes.append(stat.S_IMODE(staging_of(target).stat().st_mode)))
    convert(source, target)
    assert modes == [0o700]
    (tmp_path / "usual").mkdir()
    assert target.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("name", ["more.safetensors", "modeling_x.py", ".hidden", "folder"])
def test_what_somebody_puts_into_it_stops_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = tmp_path / "out"

    def put() -> None:
        path = staging_of(target) / name
        path.mkdir() if name == "folder" else path.write_bytes(b"x")

    before(monkeypatch, "finish", put)
    with pytest.raises(TargetRefused, match="was put into its unfinished folder by another program"):
        convert(source, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "weightsmith.json", "model.safetensors"])
@pytest.mark.parametrize("how", ["other bytes", "a link", "gone"])
def test_what_somebody_changes_in_it_stops_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    target = tmp_path / "out"
    (tmp_path / "elsewhere").write_text("secret")

    def change() -> None:
        path = staging_of(target) / name
        size = path.stat().st_size
        path.unlink()
        if how == "other bytes":
            path.write_bytes(b"x" * (size - (name == "model.safetensors")))
        elif how == "a link":
            path.symlink_to(tmp_path / "elsewhere")

    before(monkeypatch, "finish", change)
    with pytest.raises(TargetRefused, match="was changed in its unfinished folder"):
        convert(source, target)
    assert not target.exists() and not leftovers(target)


def test_a_folder_that_is_exchanged_meanwhile_gets_nothing_and_becomes_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, moved = tmp_path / "out", tmp_path / "moved"

    def exchange() -> None:
        path = staging_of(target)
        path.rename(moved)
        path.mkdir()
        (path / "evil.safetensors").write_bytes(b"x")

    before(monkeypatch, "write_weights", exchange)
    with pytest.raises(TargetRefused, match="moved by another program"):
        convert(source, target)
    assert not target.exists()
    assert [path.name for path in staging_of(target).iterdir()] == ["evil.safetensors"]
    assert (moved / "model.safetensors").stat().st_size == (source / "model.safetensors").stat().st_size


def test_a_side_file_that_becomes_a_link_to_a_secret_is_not_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("key")

    def swap() -> None:
        (source / "tokenizer.json").unlink()
        (source / "tokenizer.json").symlink_to(tmp_path / "secret")

    before(monkeypatch, "seal", swap)
    with pytest.raises(HostileCheckpoint, match=r"tokenizer\.json: is a link that leads out"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not leftovers(tmp_path / "out")


def test_a_source_that_goes_away_is_blamed_and_not_the_target(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(source, kept)
    for deed in (
        lambda: (source / "tokenizer.json").unlink(),
        lambda: (source / "config.json").unlink(),
        lambda: (source / "config.json").write_text("{}"),
        lambda: source.rename(tmp_path / "away"),
    ):
        with monkeypatch.context() as patch:
            before(patch, "seal", deed)
            with pytest.raises(CorruptCheckpoint, match="changed while it was converted") as caught:
                convert(source, tmp_path / "out")
        assert caught.value.subject == str(source)
        shutil.rmtree(tmp_path / "away", ignore_errors=True)
        shutil.copytree(kept, source, dirs_exist_ok=True)
    assert not (tmp_path / "out").exists() and not leftovers(tmp_path / "out")


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_a_side_file_that_cannot_be_read_is_blamed_itself(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened = os.open

    def refuse(path: object, *rest: int, **more: int) -> int:
        if str(path) == str(source / "LICENSE"):
            raise OSError(number, os.strerror(number))
        return opened(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MissingInput) as caught:
        convert(source, tmp_path / "out")
    assert caught.value.subject == str(source / "LICENSE")
    assert not leftovers(tmp_path / "out")


def test_only_what_a_model_has_goes_along_with_weights_that_are_named_alone(
    source: Path, tmp_path: Path
) -> None:
    strangers = (
        "id_rsa",
        "server.key",
        "credentials.json",
        "letter.txt",
        "passwords.csv",
        "tool.py",
        "x.sqlite",
    )
    for name in strangers:
        (source / name).write_text("secret")
    found = convert(source / "model.safetensors", tmp_path / "out")
    assert {"tokenizer.json", "LICENSE", "config.json"} <= set(os.listdir(tmp_path / "out"))  # noqa: PTH208
    assert "secret" not in "".join(path.read_text(errors="replace") for path in (tmp_path / "out").iterdir())
    assert any("7 files beside the weights are of no kind that a model has" in note for note in found.notes)
    assert not set(strangers) & set(found.left_out)
    assert "id_rsa" in set(convert(source, tmp_path / "whole").files)  # a folder that is named is a model's


def test_a_config_that_is_a_link_out_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"model_type": "llama"}')
    (source / "config.json").unlink()
    (source / "config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(HostileCheckpoint, match="leads out"):
        convert(source, tmp_path / "out")


def test_a_side_file_of_terabytes_that_were_never_written_is_refused(source: Path, tmp_path: Path) -> None:
    with (source / "video.mp4").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(
        CorruptCheckpoint, match=r"video\.mp4: has 1,099,511,627,776 bytes, and all but 0 are holes"
    ):
        convert(source, tmp_path / "out")
    assert not leftovers(tmp_path / "out")


def test_names_that_are_no_utf8_are_copied_and_recorded(source: Path, tmp_path: Path) -> None:
    for name in (b"\xd5\xd5.txt", b"a\\b.txt", b"a\nb.txt"):
        os.close(os.open(os.path.join(os.fsencode(source), name), os.O_CREAT))  # noqa: PTH118
    convert(source, tmp_path / "out")
    assert b"\xd5\xd5.txt" in os.listdir(os.fsencode(tmp_path / "out"))  # noqa: PTH208
    recorded = {row["file"] for row in json.loads((tmp_path / "out/weightsmith.json").read_text())["output"]}
    assert {"\\xd5\\xd5.txt", "a\\\\b.txt", "a\nb.txt"} <= recorded
    assert {verdict for _, verdict in check_hashes(tmp_path / "out")} == {"same"}


# A run that kills itself once its one shard is finished and written down.
_DIE = """
import os, signal
from weightsmith.convert.finish.journal import Journal
finished = Journal.finished
def die(self, *entry):
    finished(self, *entry)
    os.kill(os.getpid(), signal.SIGKILL)
Journal.finished = die
"""


def killed(source: Path, target: Path) -> Path:
    with start(source, target, setup=_DIE) as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    return staging_of(target)


def forge(shard: Path, journal: Path) -> None:
    """Other weights, with the line that says that they are right."""
    data = bytearray(shard.read_bytes())
    data[-100:] = b"\0" * 100
    shard.write_bytes(data)
    work, line = journal.read_bytes().splitlines()
    entry = {**json.loads(line), "hash": file_hash(shard)}
    journal.write_bytes(work + b"\n" + json.dumps(entry).encode() + b"\n")


def test_a_shard_of_other_data_with_a_journal_that_calls_it_right_is_refused(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    left = killed(source, target)
    forge(left / "model.safetensors", left / MARKER)
    with pytest.raises(TargetRefused, match="was changed or copied since the killed run wrote it"):
        convert(source, target, converter="plain", resume=True)
    assert not target.exists() and not leftovers(target)
    assert not any(
        "killed run" in note for note in convert(source, target, converter="plain", resume=True).notes
    )


def test_what_a_killed_run_left_and_nobody_touched_is_kept(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    number = (killed(source, target) / "model.safetensors").stat().st_ino
    assert "1 of 1" in convert(source, target, converter="plain", resume=True).notes[-1]
    assert (target / "model.safetensors").stat().st_ino == number


@pytest.mark.parametrize(
    "how", ["open to others", "another's", "a journal that is a link", "a shard that is a link"]
)
def test_a_folder_that_others_could_have_filled_is_not_taken_over(
    source: Path, tmp_path: Path, how: str
) -> None:
    target = tmp_path / "out"
    left = killed(source, target)
    if how == "open to others":
        left.chmod(0o755)
        with pytest.raises(TargetRefused, match="open to other users"):
            convert(source, target, converter="plain", resume=True)
        assert left.exists()
        convert(source, target, converter="plain")
        assert not left.exists()
        return
    if how == "another's":
        if os.geteuid():
            pytest.skip("only root gives files away")
        os.chown(left, 12345, 12345)
    else:
        path = left / (MARKER if "journal" in how else "model.safetensors")
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
    found = convert(source, target, converter="plain", resume=True)
    assert not any("killed run" in note for note in found.notes)
    assert {verdict for _, verdict in check_hashes(target)} == {"same"}


def test_another_source_is_other_work_even_where_its_times_were_set_back(
    source: Path, tmp_path: Path
) -> None:
    target, weights = tmp_path / "out", source / "model.safetensors"
    killed(source, target)
    times = weights.stat()
    data = bytearray(weights.read_bytes())
    data[-2:] = b"\0\0"
    weights.write_bytes(data)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = convert(source, target, converter="plain", resume=True)
    assert not any("killed run" in note for note in found.notes)
    assert (target / "model.safetensors").read_bytes()[-2:] == b"\0\0"


@pytest.mark.parametrize("text", [b"[" * 100_000 + b"\n", b"{}\n" * 100_000, b'{"work": 1}\n', b"\xff\n"])
def test_a_journal_that_is_none_is_begun_anew(source: Path, tmp_path: Path, text: bytes) -> None:
    target = tmp_path / "out"
    (killed(source, target) / MARKER).write_bytes(text)
    convert(source, target, converter="plain", resume=True)
    assert {verdict for _, verdict in check_hashes(target)} == {"same"}


def test_a_place_that_takes_no_folders_ends_at_once(source: Path) -> None:
    with pytest.raises(TargetRefused, match=r"/proc/x: cannot be written"):
        convert(source, Path("/proc/x"))


def test_a_folder_that_never_stays_ends_too(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def vanish(path: object, *rest: int, **more: int) -> int:
        if ".weightsmith-" in str(path):
            Path(str(path)).rmdir()
        return opened(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(staging_module.os, "open", vanish)
    with pytest.raises(TargetRefused, match="no folder stays beside it"):
        convert(source, tmp_path / "out")


def test_a_current_folder_that_is_gone_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(TargetRefused, match="no such file"):
        convert(source, Path("out"))


@pytest.mark.parametrize("removed", [1, 3, 6])
def test_who_is_killed_while_it_removes_leftovers_leaves_them_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    folder = tmp_path / (STAGING.format("out") + "0123abcd")
    folder.mkdir()
    for name in (MARKER, *(f"model-{number}.safetensors" for number in range(6))):
        (folder / name).write_bytes(b"half")
    unlink, calls = os.unlink, [0]

    def die(*args: Any, **options: Any) -> None:
        if calls[0] == removed:
            raise KeyboardInterrupt
        calls[0] += 1
        unlink(*args, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "unlink", die)
        clean_leftovers(tmp_path / "out")
    assert len(list(folder.iterdir())) == 7 - removed
    assert clean_leftovers(tmp_path / "out") == [folder.name]
    assert not folder.exists()
