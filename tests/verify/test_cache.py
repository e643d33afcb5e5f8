"""What was computed once is not computed again, and what is not the same is."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tests.verify.conftest import HRM_TEXT
from tests.verify.handmade import greedy_run, random_logprobs
from weightsmith.process import child
from weightsmith.verify.inputs.files import Size
from weightsmith.verify.inputs.kinds import PREFIX_LM, Variation
from weightsmith.verify.measure import baseline
from weightsmith.verify.reference import cache, replay
from weightsmith.verify.reference.cache import Cache, Subject
from weightsmith.verify.reference.replay import References, ReplayRequest, Store
from weightsmith.verify.reference.replay_job import Replayed

SUBJECT = Subject({"model.safetensors": "a1"}, {"config.json": "b2"}, {"latent.bin": "c3"}, "x86")
RIGHT = Variation("reference", "float32", "causal")
UNFUSED = Variation("unfused-weights", "float32", "causal", weights="/somewhere")
COMPLETIONS = (Replayed(0, (1, 2), (3,)),)


def _entry(folder: Path, size: int = 100) -> Path:
    file = folder / f"file-{len(list(folder.iterdir()))}"
    file.write_bytes(os.urandom(size))
    return file


def test_what_was_kept_comes_back_byte_for_byte(tmp_path: Path) -> None:
    store, file = Cache(tmp_path / "cache"), _entry(tmp_path)
    assert not store.fetch("key", tmp_path / "out")
    assert store.keep("key", file) is None
    assert store.fetch("key", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == file.read_bytes()
    assert not store.fetch("other", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_damaged_entry_is_thrown_away_and_not_believed(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache")
    store.keep("key", _entry(tmp_path))
    (entry,) = store.folder.iterdir()
    entry.write_bytes(b"\0" * 100)
    assert not store.fetch("key", tmp_path / "out")
    assert not entry.exists()
    assert not (tmp_path / "out").exists()


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache", limit=250)
    for age, key in enumerate(("old", "older")):
        store.keep(key, _entry(tmp_path))
        (entry,) = store.folder.glob(f"{key}-*")
        os.utime(entry, (1_000 - age, 1_000 - age))
    assert store.fetch("older", tmp_path / "out")  # used now, and so no longer the older
    store.keep("new", _entry(tmp_path))
    assert not list(store.folder.glob("old-*"))
    assert store.fetch("older", tmp_path / "out")
    assert store.fetch("new", tmp_path / "out")


def test_what_a_killed_process_left_goes_and_what_another_one_writes_stays(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache")
    store.keep("first", _entry(tmp_path))
    abandoned, growing = (store.folder / f".key.{number}.part" for number in (1, 2))
    for part in (abandoned, growing):
        part.write_bytes(b"half")
    os.utime(abandoned, (1_000, 1_000))
    store.keep("second", _entry(tmp_path))
    assert not abandoned.exists()
    assert growing.exists()


def test_nothing_larger_than_the_cache_is_kept_and_nothing_partial_stays(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache", limit=50)
    assert "larger" in str(store.keep("key", _entry(tmp_path)))
    assert not store.folder.exists()


def test_a_cache_that_cannot_be_written_gives_its_reason_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert str(tmp_path / "cache") in str(Cache(tmp_path / "cache").keep("key", _entry(tmp_path)))


@pytest.mark.parametrize(
    ("whose", "variation", "completions"),
    [
        (replace(SUBJECT, weights={"model.safetensors": "a2"}), RIGHT, COMPLETIONS),
        (replace(SUBJECT, config={"config.json": "b3"}), RIGHT, COMPLETIONS),
        (replace(SUBJECT, processor="arm"), RIGHT, COMPLETIONS),
        (SUBJECT, replace(RIGHT, dtype="bfloat16"), COMPLETIONS),
        (SUBJECT, replace(RIGHT, mask="prefix"), COMPLETIONS),
        (SUBJECT, replace(RIGHT, rope_base=True), COMPLETIONS),
        (SUBJECT, RIGHT, (Replayed(0, (1, 2), (4,)),)),
    ],
)
def test_whatever_decides_the_numbers_is_in_the_key(
    whose: Subject, variation: Variation, completions: tuple[Replayed, ...]
) -> None:
    assert cache.key(whose, variation, completions) != cache.key(SUBJECT, RIGHT, COMPLETIONS)


def test_another_library_is_another_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache.key(SUBJECT, RIGHT, COMPLETIONS)
    monkeypatch.setattr(cache, "versions", lambda names: dict.fromkeys(names, "0"))
    assert cache.key(SUBJECT, RIGHT, COMPLETIONS) != here


def test_the_latent_weights_decide_by_their_bytes_and_only_their_own_control() -> None:
    moved = replace(UNFUSED, weights="/elsewhere")
    assert cache.key(SUBJECT, moved, COMPLETIONS) == cache.key(SUBJECT, UNFUSED, COMPLETIONS)
    others = replace(SUBJECT, latent={"latent.bin": "c4"})
    assert cache.key(others, UNFUSED, COMPLETIONS) != cache.key(SUBJECT, UNFUSED, COMPLETIONS)
    assert cache.key(others, RIGHT, COMPLETIONS) == cache.key(SUBJECT, RIGHT, COMPLETIONS)


def test_the_folder_follows_xdg(tmp_path: Path) -> None:
    named = cache.default({"XDG_CACHE_HOME": str(tmp_path)})
    assert named is not None
    assert named.folder == tmp_path / "weightsmith" / "references"
    relative = cache.default({"XDG_CACHE_HOME": "here"})
    assert relative is not None
    assert relative.folder == Path.home() / ".cache" / "weightsmith" / "references"


@pytest.mark.engine
def test_a_second_run_on_the_same_bytes_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = greedy_run(
        tmp_path / "d", {0: random_logprobs(0, vocabulary=264), 1: random_logprobs(1, vocabulary=264)}
    )
    weights = {"model.safetensors": baseline.file_hash(HRM_TEXT / "model.safetensors")}
    store = Store(Cache(tmp_path / "cache"), cache.subject(HRM_TEXT, weights, {}, "here"))

    def run(name: str, shelf: Store | None = store) -> References:
        request = ReplayRequest(HRM_TEXT, PREFIX_LM, PREFIX_LM.controls, Size(400_000, 70_000), engine)
        found = replay.run(request, tmp_path / name, 300.0, None, shelf)
        assert isinstance(found, References)
        return found

    assert not store.cache.knows(store.subject)
    first = run("first")
    assert first.cached == ()
    assert store.cache.knows(store.subject)
    monkeypatch.setattr(replay, "start", lambda folder: nullcontext(child.Waiting))
    second = run("second")
    assert second.cached == ("reference float32", "causal-prefill float32", "reference bfloat16")
    for one, other in ((first.full, second.full), (first.half, second.half)):
        assert one is not None
        assert other is not None
        assert (one.logprobs(1) == other.logprobs(1)).all()
    assert first.versions == second.versions


def _poisoned(folder: Path, kind: str) -> Path:
    """An entry of this kind under the name of the one that is there."""
    (entry,) = folder.iterdir()
    data = entry.read_bytes()
    entry.unlink()
    match kind:
        case "a pipe":
            os.mkfifo(entry)
        case "a link":
            (folder.parent / "elsewhere").write_bytes(data)
            entry.symlink_to(folder.parent / "elsewhere")
        case "a link to nowhere":
            entry.symlink_to("nowhere")
        case "a folder":
            entry.mkdir()
        case "cut short":
            entry.write_bytes(data[:-1])
        case "longer":
            entry.write_bytes(data + b"\0")
        case "empty":
            entry.touch()
        case "another's":
            entry.write_bytes(data)
            os.chown(entry, 12345, 12345)
        case "a hole of a terabyte":
            entry.touch()
            os.truncate(entry, 1 << 40)
        case "under a foreign hash":
            entry = folder / f"key-{'0' * 64}.safetensors"
            entry.write_bytes(data)
        case _:
            entry.write_bytes(data)
            entry.chmod({"open to a group": 0o664, "open to others": 0o602}[kind])
    return entry


@pytest.mark.parametrize(
    "kind",
    [
        "a pipe",
        "a link",
        "a link to nowhere",
        "a folder",
        "cut short",
        "longer",
        "empty",
        "another's",
        "a hole of a terabyte",
        "under a foreign hash",
        "open to a group",
        "open to others",
    ],
)
def test_what_is_no_file_of_this_user_alone_is_not_believed(tmp_path: Path, kind: str) -> None:
    if kind == "another's" and os.geteuid():
        pytest.skip("only root gives files away")
    store = Cache(tmp_path / "cache")
    store.keep("key", _entry(tmp_path))
    entry = _poisoned(store.folder, kind)
    assert not store.fetch("key", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert store.keep("other", _entry(tmp_path)) is None
    assert kind == "a folder" or not os.path.lexists(entry)
    assert store.fetch("other", tmp_path / "out")


def test_another_key_s_entry_is_not_taken(tmp_path: Path) -> None:
    """Neither by a key that begins alike, nor by one that holds what a pattern would."""
    store = Cache(tmp_path / "cache")
    store.keep("key2", _entry(tmp_path))
    for key in ("key", "ke", "k*", "", "../cache/key2"):
        assert not store.fetch(key or "-", tmp_path / "out")
    assert store.fetch("key2", tmp_path / "out")


def test_bytes_that_have_the_right_hash_and_are_no_reference_are_thrown_away(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache")
    store.keep("key", _entry(tmp_path))
    assert not store.fetch("key", tmp_path / "out", lambda path: False)
    assert not (tmp_path / "out").exists() and not list(store.folder.iterdir())


@pytest.mark.parametrize("kind", ["open to others", "open to a group", "a link", "another's"])
def test_a_folder_that_others_may_write_to_is_not_used_and_it_is_said(tmp_path: Path, kind: str) -> None:
    store = Cache(tmp_path / "cache")
    store.keep("key", _entry(tmp_path))
    if kind.startswith("open"):
        store.folder.chmod({"open to others": 0o777, "open to a group": 0o770}[kind])
    elif kind == "a link":
        store.folder.rename(tmp_path / "moved")
        store.folder.symlink_to(tmp_path / "moved")
    elif os.geteuid():
        pytest.skip("only root gives files away")
    else:
        os.chown(store.folder, 12345, 12345)
    assert not store.fetch("key", tmp_path / "out")
    assert not store.knows(SUBJECT)
    assert "not used" in str(store.keep("key", _entry(tmp_path)))


def test_rows_that_are_not_those_of_the_completions_are_no_reference(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "run", {0: random_logprobs(0)})
    file, positions = run.logprobs, {n: len(tokens) for n, tokens in run.measured.items()}
    assert file.fault(positions) is None
    assert "p0.logprobs is not there" in str(file.fault({0: positions[0] + 1}))
    assert "p1.logprobs is not there" in str(file.fault({1: 1}))
    assert replace(file, vocabulary=file.vocabulary + 1).fault(positions) is not None


def test_what_describes_packed_weights_decides_their_reference(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = cache.subject(tmp_path, {}, {}, "x86")
    (tmp_path / "quant_model_description.json").write_text('{"a.weight": "W8A8"}')
    assert cache.subject(tmp_path, {}, {}, "x86").config.keys() - before.config.keys() == {
        "quant_model_description.json"
    }
