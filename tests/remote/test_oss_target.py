"""oss:// as source and as destination, by Alibaba's own client: the same bytes as in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.convert.running import large_source
from tests.convert.test_parts import contents
from tests.remote.conftest import LATENT
from tests.remote.oss import OSS, OssDoor
from tests.remote.store import Store, environment, serving
from weightsmith import library
from weightsmith.convert.destination import oss
from weightsmith.errors import MissingInput, TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "oss-of-the-test"
HOW: Any = {"converter": "plain", "max_shard_size": "40MB"}


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    if not OSS.is_dir():
        pytest.skip("`make test` installs ossfs beside the environment")
    with serving() as found, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(OSS))
        import fsspec
        from fsspec.registry import _registry

        patch.setitem(fsspec.config.conf, "oss", {"endpoint": found.url, "key": "key", "secret": "secret"})
        found.door = OssDoor()
        fsspec.filesystem("s3").mkdir(BUCKET)
        yield found
        # Other tests are about machines without it.
        _registry.pop("oss", None)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("ossfs", "oss2")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_source(tmp_path_factory.mktemp("source"), 96)


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected") / "out"
    library.convert(source, folder, **HOW)
    return contents(folder)


def held(target: str) -> dict[str, bytes]:
    import fsspec

    files, inside = fsspec.filesystem("s3"), target.removeprefix("oss://") + "/"
    files.invalidate_cache()
    return {name.removeprefix(inside): files.cat_file(name) for name in files.find(inside)}


@pytest.mark.parametrize("checksums", [True, False])
def test_it_holds_what_a_folder_holds(
    store: Store, source: Path, expected: dict[str, bytes], checksums: bool
) -> None:
    """Sent in parts, whose tags say nothing: proven by a checksum of the whole, else read back."""
    assert isinstance(store.door, OssDoor)
    store.door.tells_checksums = checksums
    target = f"oss://{BUCKET}/deep/{checksums}"
    store.asked.clear()
    library.convert(source, target, **HOW)
    read = {asked.path for asked in store.asked if asked.method == "GET"}
    assert sum(path.endswith(".safetensors") for path in read) == (0 if checksums else 3)
    assert held(target) == expected
    again = library.convert(source, target, **HOW)
    assert "joined before" in again.notes[-1]


def test_it_is_read_like_a_folder(store: Store, tmp_path: Path) -> None:
    target = f"oss://{BUCKET}/deep/latent"
    library.convert(LATENT, target, max_shard_size="200KB", part="1/1")
    with pytest.raises(MissingInput, match="not finished"):
        library.open(target)
    library.convert(LATENT, target, max_shard_size="200KB", join=True)
    library.convert(LATENT, tmp_path / "out", max_shard_size="200KB")
    here, there = library.infer(tmp_path / "out"), library.infer(target)
    assert (there.verdict, there.fields) == (here.verdict, here.fields)
    assert library.diff(tmp_path / "out", target).document()["verdict"] == "identical"


def test_of_many_that_claim_one_wins(store: Store) -> None:
    from weightsmith.checkpoint.place import located
    from weightsmith.convert.destination.choose import destination_of

    target = f"oss://{BUCKET}/deep/claimed"
    folder = destination_of(located(target), [located("s3://elsewhere")])
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: folder.claim("plan.json", f"{n}".encode()), range(8)))
    assert won.count(True) == 1
    assert held(target) == {"plan.json": f"{won.index(True)}".encode()}


@pytest.mark.parametrize("fate", [500, 403])
def test_a_refusal_is_told(store: Store, fate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oss, "_WAITS", (0.01, 0.01))
    store.fate = lambda asked: fate if asked.writes and asked.path.endswith(".safetensors") else None
    fact = {500: "the store fails .InternalError: by the test", 403: "may not be written"}[fate]
    try:
        with pytest.raises(TargetRefused, match=fact):
            library.convert(LATENT, f"oss://{BUCKET}/deep/refused-{fate}")
    finally:
        store.fate = lambda asked: None
    library.convert(LATENT, f"oss://{BUCKET}/deep/refused-{fate}")


def test_its_keys_come_from_the_environment(store: Store, source: Path) -> None:
    keys = {"FSSPEC_OSS_ENDPOINT": store.url, "FSSPEC_OSS_KEY": "key", "FSSPEC_OSS_SECRET": "secret"}
    path = {"PYTHONPATH": os.pathsep.join([str(OSS), environment(store)["PYTHONPATH"]])}
    command = [
        sys.executable,
        "-m",
        "weightsmith",
        "convert",
        str(source),
        "oss://no-such-bucket-here/x",
        "--json",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **keys, **path}
    )
    assert done.returncode == 2
    assert "NoSuchBucket" in json.loads(done.stdout)["error"]["what"]
