"""An address says which repository, revision and file is meant, or why it is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.place import located, names_remote
from weightsmith.checkpoint.remote.address import Address, parse_address
from weightsmith.errors import MissingInput, WeightsmithError

NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9_.]{0,20}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda name: ".." not in name and name not in ("datasets", "spaces", "buckets")
)
REVISIONS = st.one_of(
    st.none(),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}", fullmatch=True),
    st.integers(1, 9999).map(lambda number: f"refs/pr/{number}"),
    st.just("refs/convert/parquet"),
)
FILES = st.lists(NAMES, max_size=3).map("/".join)


@given(NAMES, NAMES, REVISIONS, FILES)
def test_what_is_put_together_is_taken_apart(owner: str, name: str, revision: str | None, file: str) -> None:
    text = f"hf://{owner}/{name}" + (f"@{revision}" if revision else "") + (f"/{file}" if file else "")
    found = parse_address(text)
    assert (found.repository, found.revision, found.inner) == (f"{owner}/{name}", revision, file)


@given(st.text(max_size=60), st.sampled_from(["hf", "modelscope", "https", "http", "s3", "oss", "HF"]))
def test_any_text_is_an_address_or_one_line(text: str, scheme: str) -> None:
    try:
        found = parse_address(f"{scheme}://{text}")
    except WeightsmithError as error:
        assert "\n" not in str(error) and error.way_out
    else:
        assert ".." not in found.inner.split("/") and "//" not in found.inner


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://gpt2", ("gpt2", None, "")),
        ("hf://gpt2@main/config.json", ("gpt2", "main", "config.json")),
        ("hf://a/b@refs%2Fpr%2F7/x.bin", ("a/b", "refs/pr/7", "x.bin")),
        ("hf://a/b/", ("a/b", None, "")),
        ("hf://a/b/my model.gguf", ("a/b", None, "my model.gguf")),
        ("https://huggingface.co/a/b", ("a/b", None, "")),
        ("https://huggingface.co/a/b/tree/v2/sub", ("a/b", "v2", "sub")),
        ("https://huggingface.co/a/b/blob/main/m.safetensors", ("a/b", "main", "m.safetensors")),
        ("https://huggingface.co/a/b/resolve/refs/pr/3/m.bin?download=true", ("a/b", "refs/pr/3", "m.bin")),
        ("modelscope://a/b@v1/x", ("a/b", "v1", "x")),
        ("https://www.modelscope.cn/models/a/b/summary", ("a/b", None, "")),
    ],
)
def test_what_a_browser_shows_is_the_repository(text: str, expected: tuple[str, str | None, str]) -> None:
    found = parse_address(text)
    assert (found.repository, found.revision, found.inner) == expected and found.kind in ("hf", "modelscope")


@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://a/../b",
        "hf://a/b/../c",
        "hf://a--b/c",
        "hf://a/b@",
        "hf://a/b@x..y",
        "hf://datasets/a/b",
        "hf://a/b?x=1",
        "hf://a/b//c",
        "hf://a/b\\c",
        "hf://a/b\nc",
        "modelscope://alone",
        "https://",
        "https://host:port/x",
        "https://a..b/x",
        "https://ho_st\u00e9/x",
        f"https://{'a' * 64}.org/x",
        "https://[::1/x",
        "https://host/a/../../b",
        f"hf://a/{'b' * 5000}",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(MissingInput):
        parse_address(text)


def test_a_password_is_never_shown() -> None:
    with pytest.raises(MissingInput) as refused:
        parse_address("https://user:secret@host/model.safetensors?token=secret")
    assert "secret" not in str(refused.value) and "user" in refused.value.fact
    signed: Address = parse_address("https://host/model.safetensors?Signature=secret")
    assert "secret" not in signed.text and signed.query == "Signature=secret"


def test_a_hub_has_one_server_under_all_its_names() -> None:
    """So that a token goes where it belongs, and over https."""
    for text in ("http://huggingface.co/a/b", "https://hf.co/a/b", "https://www.huggingface.co/a/b"):
        assert parse_address(text).host == "https://huggingface.co"
    assert parse_address("http://modelscope.cn/models/a/b").host == "https://www.modelscope.cn"


def test_an_address_that_went_through_a_path_is_told() -> None:
    with pytest.raises(MissingInput, match="an address has two slashes"):
        open_checkpoint(Path("hf://org/name"))


def test_a_path_is_no_address() -> None:
    for text in ("models/hf", "C:/x", "hf:/a/b", "file://x", "./https:", "ftp://x/y"):
        assert not names_remote(text) and str(located(text))
