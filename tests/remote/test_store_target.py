"""What a conversion writes into an object store is what it writes into a folder, through faults and deaths."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.convert.on_ray import RAY, on_ray, with_ray
from tests.convert.running import large_source, source_with_files_beside, start
from tests.convert.test_parts import PACKED, contents
from tests.remote.conftest import LATENT
from tests.remote.store import Asked, Fate, Store, environment, serving
from weightsmith import library
from weightsmith.checkpoint.unfinished import PARTS
from weightsmith.errors import ConversionRefused, MissingInput, TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from weightsmith.convert import Conversion

BUCKET = "outputs-of-the-test"
# Shards that are sent in several parts.
LARGE = {"converter": "plain", "options": {}, "max_shard_size": "40MB"}


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def files(server: Store) -> Any:
    """The file system of fsspec, with one bucket."""
    import fsspec

    fsspec.config.conf["s3"] = {"config_kwargs": {"connect_timeout": 5}}
    found = fsspec.filesystem("s3", skip_instance_cache=False)
    found.retries = 2
    found.mkdir(BUCKET)
    return found


@pytest.fixture
def store(server: Store, files: Any) -> Iterator[Store]:
    """Sound, and nothing asked yet."""
    server.asked.clear()
    yield server
    server.fate = lambda asked: None


@pytest.fixture
def target(request: pytest.FixtureRequest) -> str:
    name = "".join(sign if sign.isalnum() else "-" for sign in request.node.name)
    return f"s3://{BUCKET}/deep/{name}"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_with_files_beside(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected") / "out"
    convert(source, folder)
    return contents(folder)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_source(tmp_path_factory.mktemp("large"), 96)


@pytest.fixture(scope="module")
def expected_large(large: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected-large") / "out"
    convert(large, folder, **LARGE)
    return contents(folder)


def convert(source: Path, target: Path | str, **changed: Any) -> Conversion:
    return library.convert(source, target, **{**PACKED, **changed})


def held(files: Any, target: str) -> dict[str, bytes]:
    """Every object below the target."""
    inside = target.removeprefix("s3://") + "/"
    files.invalidate_cache()
    names = files.find(inside)
    return {name.removeprefix(inside): files.cat_file(name) for name in names}


def uploads(files: Any) -> list[Any]:
    """What was begun to be sent in parts, and neither completed nor aborted."""
    found: list[Any] = files.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", [])
    return found


def writes(store: Store) -> list[str]:
    return [asked.path for asked in store.asked if asked.writes]


def once(fate: Fate, which: str) -> Any:
    """The first request that writes something with such a name meets this fate."""
    met: list[Asked] = []

    def decide(asked: Asked) -> Fate:
        if met or not asked.writes or which not in f"{asked.path}?{asked.query}":
            return None
        met.append(asked)
        return fate

    return decide


# the same bytes


def test_it_holds_what_a_folder_holds(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes]
) -> None:
    done = convert(source, target)
    assert held(files, target) == expected
    assert (done.verdict, done.part, done.output) == ("written", None, target)
    assert done.fingerprint().keys() == expected.keys() - {"weightsmith.json"}
    assert writes(store)[-1].endswith("weightsmith.json"), "the manifest is the last thing that appears"


def test_large_shards_are_sent_in_parts(
    store: Store, files: Any, large: Path, target: str, expected_large: dict[str, bytes]
) -> None:
    convert(large, target, **LARGE)
    assert held(files, target) == expected_large
    assert sum("partNumber" in asked.query for asked in store.asked) > len(expected_large)
    assert uploads(files) == []


def test_it_is_read_like_any_checkpoint(store: Store, tmp_path: Path, target: str) -> None:
    how: Any = {"converter": None, "options": {}, "max_shard_size": "200KB"}
    convert(LATENT, target, **how)
    convert(LATENT, tmp_path / "out", **how)
    here, there = library.infer(tmp_path / "out"), library.infer(target)
    assert (there.verdict, there.fields) == (here.verdict, here.fields)
    assert library.diff(tmp_path / "out", target).document()["verdict"] == "identical"
    told, known = library.inspect(target, hashes=True), library.inspect(tmp_path / "out", hashes=True)
    assert told.document()["hashes"] == known.document()["hashes"]


def test_from_a_store_into_a_store(store: Store, files: Any, source: Path, target: str) -> None:
    how: Any = {"converter": "plain", "options": {}}
    for path in source.iterdir():
        if path.is_file():
            files.pipe_file(f"{target}-source/{path.name}".removeprefix("s3://"), path.read_bytes())
    convert(f"{target}-source", target, **how)  # type: ignore[arg-type]
    there = library.diff(source, target).document()
    assert there["verdict"] == "equal", "of a torch file"
    with pytest.raises(TargetRefused, match="lies in the source folder"):
        convert(f"{target}-source", f"{target}-source/out", **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [(1,), (2, 1), (3, 1, 2)], ids=str)
def test_parts_and_a_join_make_the_same(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes], order: tuple[int, ...]
) -> None:
    for number in order:
        with pytest.raises(MissingInput, match=r"holds no parts|lacks \d+ of \d+ weights files"):
            convert(source, target, join=True)
        done = convert(source, target, part=f"{number}/{len(order)}")
    assert done.part is not None
    assert done.part.finished == done.part.files
    with pytest.raises(MissingInput, match="written in parts and not finished"):
        library.open(target)
    convert(source, target, join=True)
    assert held(files, target) == expected


def test_parts_at_the_same_time(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes]
) -> None:
    chosen = 'convert = __import__("functools").partial(convert, max_shard_size="1MB", part="{}/3")\n'
    running = [running_in(source, target, chosen.format(number)) for number in (1, 2, 3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    convert(source, target, join=True)
    assert held(files, target) == expected


@pytest.mark.xdist_group("ray")
@pytest.mark.skipif(not RAY.is_dir(), reason="`make test` installs Ray beside the environment")
def test_parts_on_a_cluster(store: Store, files: Any, large: Path, target: str, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(RAY), environment(store)["PYTHONPATH"]])
    command = on_ray(large, target, "ray", "--workers", "1")  # type: ignore[arg-type]
    # Ray has sockets in TMPDIR, whose names may not be long.
    own = {name: value for name, value in with_ray().items() if name != "TMPDIR"}
    done = subprocess.run(
        command, env={**own, "PYTHONPATH": paths}, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    how: Any = {"converter": "ternary", "options": {"group_size": "128"}, "max_shard_size": "13MB"}
    convert(large, tmp_path / "out", **how)
    assert held(files, target) == contents(tmp_path / "out")


def running_in(source: Path, target: str, setup: str) -> subprocess.Popen[str]:
    return start(source, f"s3:{target[3:]}", "ternary", f"Path = str\n{setup}", options=PACKED["options"])  # type: ignore[arg-type]


# what is there already


def test_what_is_there_is_not_made_again(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes]
) -> None:
    convert(source, target, part="1/2")
    there = {path for path in writes(store) if path.endswith(".safetensors")}
    store.asked.clear()
    done = convert(source, target)
    assert there
    assert not there & set(writes(store))
    assert any("were there from a killed run" in note for note in done.notes)
    store.asked.clear()
    for again in (convert(source, target), convert(source, target, join=True)):
        assert "joined before" in again.notes[-1]
    assert writes(store) == []
    assert held(files, target) == expected


def test_a_shard_that_somebody_replaced_is_made_again(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes]
) -> None:
    convert(source, target, part="1/1")
    name = next(name for name in expected if name.endswith(".safetensors"))
    files.pipe_file(f"{target}/{name}".removeprefix("s3://"), bytes(len(expected[name])))
    with pytest.raises(MissingInput, match=f"lacks 1 of .*{name}"):
        convert(source, target, join=True)
    convert(source, target)
    assert held(files, target) == expected


@pytest.mark.parametrize("name", ["config.json", "weightsmith.json", "old/model.safetensors", ".hidden"])
def test_a_folder_that_holds_something_is_not_written_to(
    store: Store, files: Any, source: Path, target: str, name: str
) -> None:
    files.pipe_file(f"{target}/{name}".removeprefix("s3://"), b"{}")
    store.asked.clear()
    with pytest.raises(TargetRefused, match="is not empty"):
        convert(source, target)
    assert writes(store) == []


def test_other_work_is_told(store: Store, files: Any, source: Path, target: str, tmp_path: Path) -> None:
    convert(source, target, part="1/2")
    with pytest.raises(TargetRefused, match="parts of another conversion"):
        convert(source, target, hash_name="sha256")
    convert(source, target)
    other = tmp_path / "other"
    other.mkdir()
    for path in source.iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    (other / "config.json").write_text(json.dumps({"model_type": "other"}))
    before = held(files, target)
    with pytest.raises(TargetRefused, match="of other work"):
        convert(other, target)
    assert held(files, target) == before


def test_weights_that_were_replaced_are_not_mixed_with_the_first_ones(
    store: Store, files: Any, source: Path, target: str, tmp_path: Path
) -> None:
    """Same names, shapes and config. What is made of them is refused, whether the first run ended or was killed."""
    own = tmp_path / "own"
    own.mkdir()
    for path in source.iterdir():
        if path.is_file():
            (own / path.name).write_bytes(path.read_bytes())
    (weights,) = own.glob("*.bin")
    convert(own, target)
    convert(own, f"{target}-begun", part="1/2")
    raw = bytearray(weights.read_bytes())
    raw[len(raw) // 2 + 100_000] ^= 1  # in the middle of a tensor
    weights.write_bytes(raw)
    before = held(files, target)
    with pytest.raises(TargetRefused, match="of other work"):
        convert(own, target)
    assert held(files, target) == before
    with pytest.raises(TargetRefused, match="begun with a source whose files had other"):
        convert(own, f"{target}-begun")


def test_something_strange_stops_the_end(store: Store, files: Any, source: Path, target: str) -> None:
    convert(source, target, part="1/1")
    files.pipe_file(f"{target}/modeling_evil.py".removeprefix("s3://"), b"")
    with pytest.raises(TargetRefused, match=r"modeling_evil\.py.*by another program"):
        convert(source, target)
    assert "weightsmith.json" not in held(files, target)


# room


def test_few_shards_wait_here_and_none_stays(store: Store, large: Path, target: str, scratch: Path) -> None:
    most = 0

    def look(done: int, total: int) -> None:
        nonlocal most
        sizes = [path.stat().st_blocks * 512 for path in scratch.rglob("*.safetensors") if path.exists()]
        most = max(most, sum(sizes))

    convert(large, target, converter="plain", options={}, max_shard_size="13MB", progress=look)
    assert 12_000_000 < most < 3 * 13_000_000, "of 96 MB"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("shards", "fact"), [("8MB", r"bytes free.*at a time"), ("1MB", "no space left")])
def test_too_little_room_is_told(
    store: Store, files: Any, source: Path, target: str, scratch: Path, shards: str, fact: str
) -> None:
    """Of what is made at a time before anything is; where another program fills the disk, as it comes."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(scratch)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small file system here")

    def fill(done: int, total: int) -> None:
        with (scratch / "of another program").open("ab") as file, suppress(OSError):
            file.write(bytes(4 << 20))

    try:
        with pytest.raises(TargetRefused, match=f"{fact}.*set TMPDIR to a folder with room"):
            convert(source, target, max_shard_size=shards, progress=fill)
        assert "weightsmith.json" not in held(files, target)
    finally:
        subprocess.run(["umount", str(scratch)], check=True)


# faults


def test_a_bucket_that_is_not_there_is_told(store: Store, source: Path) -> None:
    with pytest.raises(TargetRefused, match=r"no such bucket.*make the bucket"):
        convert(source, "s3://no-such-bucket-here/out")
    with pytest.raises(TargetRefused, match="no such bucket"):
        convert(source, "s3://no-such-bucket-here/out", dry_run=True)


@pytest.mark.parametrize(
    ("address", "fact"),
    [
        ("hf://org/name", "read here, not written to"),
        ("https://host.example/x/", "read here, not written to"),
        (f"s3://{BUCKET}/x/model.safetensors", "is the name of a file"),
    ],
)
def test_what_is_no_folder_of_a_store(store: Store, source: Path, address: str, fact: str) -> None:
    with pytest.raises(TargetRefused, match=fact):
        convert(source, address)


def test_keys_that_may_not_write_are_told(store: Store, files: Any, source: Path, target: str) -> None:
    store.fate = lambda asked: 403 if asked.writes else None
    with pytest.raises(
        TargetRefused, match=r"may not be written \(by the test\).*list, read, put and delete"
    ):
        convert(source, target)
    assert held(files, target) == {}


def test_a_store_that_forbids_shards_alone_is_told(
    store: Store, files: Any, source: Path, target: str
) -> None:
    store.fate = lambda asked: 403 if asked.writes and asked.path.endswith(".safetensors") else None
    with pytest.raises(TargetRefused, match="may not be written"):
        convert(source, target)
    with pytest.raises(MissingInput, match="not finished"):
        library.open(target)


@pytest.mark.parametrize("fate", ["lost", "unanswered", 500])
@pytest.mark.parametrize("which", ["00002", "plan.json", "shard-model", "weightsmith.json"])
def test_a_request_that_fails_once_is_asked_again(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes], fate: Fate, which: str
) -> None:
    store.fate = once(fate, which)
    convert(source, target)
    assert held(files, target) == expected


@pytest.mark.parametrize("fate", ["lost", "unanswered", 500])
@pytest.mark.parametrize("which", ["partNumber=2", "uploadId"])
def test_a_part_that_fails_once_is_sent_again(
    store: Store,
    files: Any,
    large: Path,
    target: str,
    expected_large: dict[str, bytes],
    fate: Fate,
    which: str,
) -> None:
    found = once(fate, which)
    store.fate = lambda asked: found(asked) if which != "uploadId" or asked.method == "POST" else None
    convert(large, target, **LARGE)
    assert held(files, target) == expected_large
    assert uploads(files) == []


@pytest.mark.parametrize("fate", ["lost", 500])
def test_a_store_that_breaks_for_good_is_told_and_gone_on_with(
    store: Store, files: Any, large: Path, target: str, expected_large: dict[str, bytes], fate: Fate
) -> None:
    store.fate = lambda asked: fate if "partNumber=2" in asked.query and "00002" in asked.path else None
    with pytest.raises(TargetRefused, match=r"the store fails.*run the same command again"):
        convert(large, target, **LARGE)
    assert uploads(files) == []
    with pytest.raises(MissingInput, match="not finished"):
        library.open(target)
    store.fate = lambda asked: None
    store.asked.clear()
    convert(large, target, **LARGE)
    assert not any("00001" in path and PARTS not in path for path in writes(store))
    assert held(files, target) == expected_large


def test_where_tags_say_nothing_objects_are_read_back(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes]
) -> None:
    store.fate = lambda asked: "sealed"
    convert(source, target)
    read = [
        asked.path for asked in store.asked if asked.method == "GET" and asked.path.endswith(".safetensors")
    ]
    assert len(set(read)) == sum(name.endswith(".safetensors") for name in expected)
    store.fate = lambda asked: None
    assert held(files, target) == expected


@pytest.mark.parametrize(("checksums", "fact"), [(True, "checksum"), (False, "gave other bytes back")])
def test_other_bytes_than_were_sent_are_found(
    store: Store, files: Any, source: Path, target: str, checksums: bool, fact: str
) -> None:
    """By s3fs where the store keeps checksums, here where it keeps none."""

    def damage(asked: Asked) -> Fate:
        if asked.method == "PUT" and asked.path.endswith("00003-of-00008.safetensors"):
            raw = bytearray(asked.environ["wsgi.input"].read(int(asked.environ["CONTENT_LENGTH"])))
            raw[len(raw) // 2] ^= 1
            asked.environ["wsgi.input"] = io.BytesIO(raw)
            for name in [name for name in asked.environ if not checksums and "CHECKSUM" in name]:
                del asked.environ[name]
        return None

    store.fate = damage
    with pytest.raises(TargetRefused, match=fact):
        convert(source, target)
    assert "model-00003-of-00008.safetensors" not in held(files, target)


def test_damaged_weights_are_refused_as_in_a_folder(
    store: Store, files: Any, tmp_path: Path, target: str
) -> None:
    import torch

    from tests.values.making import save_bin

    tensors = {f"model.layers.{n}.mlp.up_proj.weight": torch.randn(64, 256).bfloat16() for n in range(8)}
    tensors["model.layers.7.mlp.up_proj.weight"][3, 5] = float("nan")
    broken = save_bin(tmp_path / "broken", tensors)
    with pytest.raises(ConversionRefused, match="NaN"):
        convert(broken, target, converter="plain", options={}, max_shard_size="100KB")
    assert "weightsmith.json" not in held(files, target)


# claims


def test_keys_that_may_not_list_uploads_leave_a_note(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes]
) -> None:
    store.fate = lambda asked: 403 if asked.method == "GET" and asked.query.startswith("uploads") else None
    done = convert(source, target)
    assert "uploads that nobody ended could not be found out: may not be written" in done.notes[-1]
    assert held(files, target) == expected


@pytest.mark.parametrize("name", ["plan.json", "shard-model-00002", "weightsmith.json"])
def test_a_note_that_the_store_cannot_give_is_no_reason_to_begin_anew(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes], name: str
) -> None:
    convert(source, target, **({} if name == "weightsmith.json" else {"part": "1/1"}))
    store.fate = lambda asked: 500 if asked.method == "GET" and name in asked.path else None
    store.asked.clear()
    with pytest.raises(TargetRefused, match="the store fails"):
        convert(source, target)
    assert not any(path.endswith(".safetensors") for path in writes(store))
    store.fate = lambda asked: None
    convert(source, target)
    assert held(files, target) == expected


def test_of_many_that_claim_one_wins(store: Store, files: Any, target: str) -> None:
    from weightsmith.checkpoint.place import located
    from weightsmith.convert.destination.choose import destination_of

    folder = destination_of(located(target), [located("s3://elsewhere")])
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: folder.claim("plan.json", f"{n}".encode()), range(8)))
    assert won.count(True) == 1
    assert held(files, target) == {"plan.json": f"{won.index(True)}".encode()}


def test_two_works_do_not_mix_where_a_store_ignores_conditions(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes]
) -> None:
    """Both find the folder empty; the other one notes its plan and writes shards, then this one notes its own plan."""
    met: list[Asked] = []

    def interfere(asked: Asked) -> Fate:
        asked.environ.pop("HTTP_IF_NONE_MATCH", None)
        if not met and asked.writes and asked.path.endswith("plan.json"):
            met.append(asked)
            convert(source, target, part="1/2", hash_name="sha256")
        return None

    store.fate = interfere
    convert(source, target)
    assert len(met) == 1
    assert held(files, target) == expected
    with pytest.raises(TargetRefused, match="of other work"):
        convert(source, target, part="2/2", hash_name="sha256")


# deaths


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("count", [1, 2, 5, 8, 11, 14, 17])
def test_a_run_that_is_killed_at_any_write_is_run_again(
    store: Store, files: Any, source: Path, target: str, expected: dict[str, bytes], count: int, after: bool
) -> None:
    """Killed by the store itself, as the k-th request to write reaches it, before or after it is done."""
    process: list[subprocess.Popen[str]] = []
    written: list[Asked] = []

    def kill(asked: Asked) -> Fate:
        if asked.writes:
            written.append(asked)
        if len(written) == count and process and asked is written[-1]:
            process[0].kill()
            return "unanswered" if after else "lost"
        return None

    store.fate = kill
    chosen = 'convert = __import__("functools").partial(convert, max_shard_size="1MB")\n'
    process.append(running_in(source, target, chosen))
    assert process[0].wait(60) == -signal.SIGKILL
    store.fate = lambda asked: None
    there = held(files, target)
    if "weightsmith.json" not in there and there:
        with pytest.raises(MissingInput):
            library.open(target)
    convert(source, target)
    assert held(files, target) == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_was_half_sent_goes_away(
    store: Store,
    files: Any,
    large: Path,
    target: str,
    expected_large: dict[str, bytes],
    number: signal.Signals,
    scratch: Path,
) -> None:
    process: list[subprocess.Popen[str]] = []

    def end(asked: Asked) -> Fate:
        if process and "partNumber=2" in asked.query and "00002" in asked.path:
            process[0].send_signal(number)
        return None

    store.fate = end
    command = [sys.executable, "-m", "weightsmith", "convert", str(large), target, "--converter", "plain"]
    process.append(
        subprocess.Popen(
            [*command, "--max-shard-size", "40MB"],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    )
    _, said = process[0].communicate(timeout=60)
    assert process[0].returncode == -number
    if number == signal.SIGKILL:
        assert len(uploads(files)) == 1
    else:
        assert uploads(files) == []
        assert said.splitlines()[-1] == (
            f"error: interrupted; what was finished is kept in {target}: run the same command again"
        )
        assert list(scratch.iterdir()) == []
    store.fate = lambda asked: None
    convert(large, target, **LARGE)
    assert held(files, target) == expected_large
    assert uploads(files) == []
    assert list(scratch.iterdir()) == []


# the command line


def test_the_command_tells_one_line_and_exits_with_2(store: Store, source: Path) -> None:
    command = [sys.executable, "-m", "weightsmith", "convert", str(source), "s3://no-such-bucket-here/out"]
    done = subprocess.run(
        [*command, "--converter", "plain", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "target-refused"
    assert "Traceback" not in done.stderr


def test_without_keys_the_line_says_so(store: Store, source: Path, target: str, tmp_path: Path) -> None:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    lacking = {name: value for name, value in os.environ.items() if name not in keys}
    lacking |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "weightsmith", "convert", str(source), target, "--converter", "plain"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=lacking)
    assert done.returncode == 2
    assert "credentials" in done.stderr.splitlines()[-1]
