"""Object stores through fsspec: the same answers, from a real server that speaks S3."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.remote.conftest import LATENT, SOUND
from tests.remote.store import serving
from weightsmith import library
from weightsmith.errors import CorruptCheckpoint, MissingInput, MissingPackage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "models-of-the-test"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as found:
        yield found.url


@pytest.fixture(scope="module")
def store(server: str) -> Any:
    import fsspec

    store = fsspec.filesystem("s3")
    store.mkdir(BUCKET)
    for folder in (SOUND, LATENT):
        for path in folder.iterdir():
            store.pipe_file(f"{BUCKET}/deep/{folder.name}/{path.name}", path.read_bytes())
    return store


@pytest.mark.parametrize("folder", [SOUND, LATENT])
def test_it_is_read_like_a_folder(store: Any, folder: Path) -> None:
    address = f"s3://{BUCKET}/deep/{folder.name}"
    here, there = library.infer(folder), library.infer(address)
    assert (there.verdict, there.fields) == (here.verdict, here.fields)
    weights = next(iter(library.open(folder).files))
    assert library.open(f"{address}/{weights}").tensors == library.open(folder).tensors
    assert library.diff(folder, address).document()["verdict"] == "identical"


def test_only_headers_are_fetched(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    cat_file = store.cat_file

    def counted(path: str, start: int, end: int) -> Any:
        asked.append((path, end - start))
        return cat_file(path, start=start, end=end)

    monkeypatch.setattr(store, "cat_file", counted)
    library.infer(f"s3://{BUCKET}/deep/{SOUND.name}")
    assert sum(count for _, count in asked) < 200_000
    assert len([path for path, _ in asked if path.endswith(".safetensors")]) == 1


def test_it_is_converted_to_the_byte(store: Any, tmp_path: Path) -> None:
    for source, out in ((str(SOUND), "here"), (f"s3://{BUCKET}/deep/{SOUND.name}", "there")):
        library.convert(source, tmp_path / out, converter="plain", dtype="float16")
    weights = "model.safetensors"
    assert (tmp_path / "here" / weights).read_bytes() == (tmp_path / "there" / weights).read_bytes()


def test_an_object_that_is_written_anew_is_told(store: Any, tmp_path: Path) -> None:
    key = f"{BUCKET}/changing/model.safetensors"
    raw = (SOUND / "model.safetensors").read_bytes()
    store.pipe_file(key, raw)
    opened = library.open(f"s3://{key}")
    store.pipe_file(key, raw[:-1000])
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        library.inspect(opened, values="full")
    store.pipe_file(key, raw)
    opened = library.open(f"s3://{key}")
    from weightsmith.convert.stamps import need_unchanged, stamps

    before = stamps(opened.root, ["model.safetensors"])
    need_unchanged(opened.root, before, opened.root)
    store.pipe_file(key, bytes(np.frombuffer(raw, np.uint8)[::-1]))
    with pytest.raises(CorruptCheckpoint, match="changed while it was converted"):
        need_unchanged(opened.root, before, opened.root)


def test_what_is_not_there_is_told(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (f"s3://{BUCKET}/absent", "s3://no-such-bucket-here/x"):
        with pytest.raises(MissingInput, match=r"no such bucket or object|holds no object"):
            library.open(address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store.clear_instance_cache()
    with pytest.raises(MissingInput, match="the store fails"):
        library.open(f"s3://{BUCKET}/deep/{SOUND.name}")
    store.clear_instance_cache()


def test_without_the_package_the_way_out_is_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPackage, match="ossfs"):
        library.open("oss://bucket/model")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingPackage, match=r"weightsmith\[remote\]"):
        library.open("s3://bucket/model")
