"""Whatever a server does, the answer is that of the file, or one line that says what happened and what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.remote.conftest import SOUND
from tests.remote.hub import TOKEN, Answer, Asked, Hub, serving
from weightsmith import library
from weightsmith.checkpoint.remote import connections
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = "hf://org/sound"
HERE = library.open(SOUND).tensors


def refused(kind: type[WeightsmithError], words: str, address: str = MODEL) -> WeightsmithError:
    with pytest.raises(kind) as found:
        library.open(address)
    line = str(found.value)
    assert words in line and "\n" not in line and found.value.way_out
    return found.value


def on_files(
    change: Callable[[Asked, Answer], None], times: int = 1 << 30
) -> Callable[[Asked, Answer], None]:
    """The fault in the first so many answers of the CDN."""
    left = [times]

    def fault(asked: Asked, answer: Answer) -> None:
        if asked.server == "cdn" and left[0]:
            left[0] -= 1
            change(asked, answer)

    return fault


def becomes(status: int, **headers: str) -> Callable[[Asked, Answer], None]:
    def change(_: Asked, answer: Answer) -> None:
        answer.status = status
        answer.headers.update({key.replace("_", "-"): value for key, value in headers.items()})

    return change


# What is not there, or not for everybody


def test_a_repository_that_is_not_there(hub: Hub) -> None:
    error = refused(MissingInput, "no such repository", "hf://org/absent")
    assert error.subject == "hf://org/absent" and "HF_TOKEN" in error.way_out


def test_a_revision_that_is_not_there(hub: Hub) -> None:
    refused(MissingInput, "no revision 'v9'", f"{MODEL}@v9")


def test_a_file_that_is_not_there(hub: Hub) -> None:
    refused(MissingInput, "no such file or folder in the repository", f"{MODEL}/model.bin")


def test_a_gated_repository(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.gated.add("org/sound")
    error = refused(MissingInput, "is gated")
    assert "HF_TOKEN" in error.way_out
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused(MissingInput, "is gated, and the token of HF_TOKEN may not read it")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert library.open(MODEL).tensors == HERE
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "hf-home").mkdir()
    (tmp_path / "hf-home" / "token").write_text(f"{TOKEN}\n")
    assert library.open(MODEL).tensors == HERE
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    refused(MissingInput, "is gated")


def test_a_token_goes_to_its_hub_and_nowhere_else(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    library.infer(MODEL)
    with_token = {one.server for one in hub.asked if TOKEN in str(one.headers)}
    assert with_token == {"hub"} and any(one.server == "cdn" for one in hub.asked)


def test_a_token_does_not_go_to_a_server_that_was_named_by_its_address(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    library.open(f"{hub.url}/org/sound/model.safetensors")
    assert not any(TOKEN in str(one.headers) for one in hub.asked)


def test_a_token_does_not_go_to_another_port_of_its_host(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(Hub({"org/sound": SOUND})) as other:
        library.open(f"{other.url}/org/sound/model.safetensors")
        assert other.asked and not any(TOKEN in str(one.headers) for one in other.asked)


def test_a_token_with_a_line_break_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x\r\nHost: elsewhere")
    error = refused(WeightsmithError, "holds characters that no token has")
    assert "elsewhere" not in str(error) and not hub.asked


# What passes


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(hub: Hub, status: int) -> None:
    hub.fault = on_files(becomes(status), 3)
    assert library.open(MODEL).tensors == HERE


def test_what_does_not_pass_is_tried_so_often(hub: Hub) -> None:
    hub.fault = on_files(becomes(503))
    refused(MissingInput, "the server failed (HTTP 503) (5 tries)")
    assert len([one for one in hub.asked if one.server == "cdn"]) == 5


def test_a_wait_that_a_server_asks_for_is_kept_and_bounded(hub: Hub) -> None:
    hub.fault = on_files(becomes(429, Retry_After="0"), 1)
    library.open(MODEL)
    hub.fault = on_files(becomes(429, Retry_After="86400"), 1)
    began = time.monotonic()
    assert library.open(MODEL).tensors == HERE
    assert 0.2 <= time.monotonic() - began < 5  # longest_wait of these tests is 0.2 s


def test_a_listing_is_tried_again_as_well(hub: Hub) -> None:
    left = [2]

    def fault(asked: Asked, answer: Answer) -> None:
        if asked.is_listing and left[0]:
            left[0] -= 1
            answer.status = 429

    hub.fault = fault
    assert library.open(MODEL).tensors == HERE


@pytest.mark.parametrize("after", [0, 1, 4096, 100_000])
def test_a_broken_connection_goes_on_where_it_broke(hub: Hub, after: int) -> None:
    def cut(_: Asked, answer: Answer) -> None:
        answer.broken_at = after

    hub.fault = on_files(cut, 2)
    assert library.open(MODEL).tensors == HERE
    ranges = [one.headers["Range"] for one in hub.asked if one.server == "cdn"]
    starts = [int(one.removeprefix("bytes=").partition("-")[0]) for one in ranges]
    assert starts == [0, after, min(2 * after, 131_072)] or (after == 100_000 and starts == [0, 100_000])


def test_a_connection_that_always_breaks_is_told(hub: Hub) -> None:
    def cut(_: Asked, answer: Answer) -> None:
        answer.broken_at = 0

    hub.fault = on_files(cut)
    refused(MissingInput, "the connection broke after 0 of")


def test_a_server_that_says_nothing_is_left(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightsmith.checkpoint.remote import path
    from weightsmith.checkpoint.remote.transport import Patience

    monkeypatch.setattr(path, "Patience", lambda **_: Patience(timeout=0.2, tries=2, first_wait=0.01))

    def wait(_: Asked, answer: Answer) -> None:
        answer.pause = 1.0

    hub.fault = on_files(wait)
    refused(MissingInput, "does not answer (2 tries)")


def test_a_server_that_drips_is_left(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightsmith.checkpoint.remote import path
    from weightsmith.checkpoint.remote.transport import Patience

    quick = Patience(timeout=2.0, tries=1, grace=0.4, slowest=1 << 30)
    monkeypatch.setattr(path, "Patience", lambda **_: quick)

    def drip(_: Asked, answer: Answer) -> None:
        answer.drip = 0.05

    hub.fault = on_files(drip)
    refused(MissingInput, "is too slow")


def test_a_link_that_is_over_is_asked_for_anew(hub: Hub) -> None:
    """A signed link of the CDN holds for an hour; the hub gives another."""
    opened = library.open(MODEL)
    hub.forget()
    hub.fault = on_files(becomes(403), 1)
    assert library.inspect(opened, values="full").survey is not None
    assert [one.server for one in hub.of_files("model.safetensors")][:3] == ["cdn", "hub", "cdn"]


# What a server must not do


def test_a_server_that_ignores_ranges(hub: Hub) -> None:
    def whole(_: Asked, answer: Answer) -> None:
        answer.status, answer.start, answer.stop = 200, 0, SOUND.joinpath("model.safetensors").stat().st_size
        answer.headers.pop("Content-Range")

    hub.fault = on_files(whole)
    refused(MissingInput, "it ignores Range")
    assert sum(one.sent for one in hub.asked if one.server == "cdn") < 8 << 20


def test_other_bytes_than_were_asked_for(hub: Hub) -> None:
    hub.fault = on_files(becomes(206, Content_Range="bytes 5-131076/1579336"))
    refused(CorruptCheckpoint, "where 0 to 131,071 were asked for")
    hub.fault = on_files(becomes(206, Content_Range="bytes nonsense"))
    refused(CorruptCheckpoint, "answers HTTP 206 where a part was asked for")


def test_a_file_of_another_size_than_the_listing_says(hub: Hub) -> None:
    hub.fault = on_files(becomes(206, Content_Range="bytes 0-131071/999999999"))
    refused(CorruptCheckpoint, "changed while it was read: it has 999,999,999 bytes")


def test_a_file_that_changes_while_it_is_read(hub: Hub) -> None:
    opened = library.open(MODEL)
    hub.fault = on_files(becomes(206, ETag='"another"'))
    with pytest.raises(CorruptCheckpoint, match="changed while it was read: its tag is another one"):
        library.inspect(opened, values="full")


def test_a_file_that_is_another_when_the_hub_is_asked_again(hub: Hub) -> None:
    opened = library.open(MODEL)
    over = on_files(becomes(403), 1)

    def fault(asked: Asked, answer: Answer) -> None:
        over(asked, answer)
        if "X-Linked-Etag" in answer.headers:
            answer.headers["X-Linked-Etag"] = '"another"'

    hub.fault = fault
    with pytest.raises(CorruptCheckpoint, match="changed while it was read: its tag is another one"):
        library.inspect(opened, values="full")


def test_packed_bytes_are_refused(hub: Hub) -> None:
    hub.fault = on_files(becomes(206, Content_Encoding="gzip"))
    refused(HostileCheckpoint, "is sent packed")


def redirects(location: str) -> Callable[[Asked, Answer], None]:
    def change(asked: Asked, answer: Answer) -> None:
        if "/resolve/" in asked.path and "model.safetensors" in asked.path:
            answer.status, answer.headers["Location"] = 302, location.replace("SELF", asked.path)

    return change


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("SELF", "redirects more than 5 times"),
        ("file:///etc/passwd", "redirects to 'file:///etc/passwd'"),
        ("ftp://host/x", "redirects to 'ftp://host/x'"),
        ("", "redirects to nowhere"),
        ("http://user:secret@host/x", "which is no web address"),
    ],
)
def test_a_redirect_that_leads_astray(hub: Hub, location: str, words: str) -> None:
    hub.fault = redirects(location)
    refused(HostileCheckpoint, words)


def test_a_public_server_must_not_lead_into_this_machines_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.2, where the hub stands here, counts as public; the CDN at 127.0.0.1 is what it is."""
    public = connections.is_public
    monkeypatch.setattr(connections, "is_public", lambda host: host == "127.0.0.2" or public(host))
    with serving(Hub({"org/sound": SOUND}), host="127.0.0.2") as other:
        monkeypatch.setenv("HF_ENDPOINT", other.url)
        refused(HostileCheckpoint, "redirects from a public server to '127.0.0.1'")
        assert not [one for one in other.asked if one.server == "cdn"]


def test_https_must_not_lead_to_http(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(Hub({"org/sound": SOUND}), certificate=certificate) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        refused(HostileCheckpoint, "redirects from https to http")


def test_a_certificate_that_nobody_trusts(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    with serving(Hub({"org/sound": SOUND}), certificate=certificate) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        refused(MissingInput, "shows no certificate that is trusted here")
        assert not hub.asked


@pytest.mark.parametrize(
    "listing",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"sha": "x", "siblings": []}',
        b'{"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [{"rfilename": "../x", "size": 1}]}',
        b'{"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [{"rfilename": "/etc/x", "size": 1}]}',
        b'{"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [{"rfilename": "a", "size": -1}]}',
        b'{"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [7]}',
    ],
)
def test_a_listing_that_is_none(hub: Hub, listing: bytes) -> None:
    def other(asked: Asked, answer: Answer) -> None:
        if asked.is_listing:
            answer.body, answer.stop = (lambda start, count: listing[start : start + count]), len(listing)

    hub.fault = other
    refused(CorruptCheckpoint, "the hub's answer is a list of files")


# What cannot be reached


def test_a_mirror_that_knows_no_sizes(hub: Hub) -> None:
    def without_sizes(asked: Asked, answer: Answer) -> None:
        if asked.is_listing:
            listing = json.loads(answer.body(0, answer.stop))
            for one in listing["siblings"]:
                del one["size"]
            raw = json.dumps(listing).encode()
            answer.body, answer.stop = (lambda start, count: raw[start : start + count]), len(raw)

    hub.fault = without_sizes
    assert library.infer(MODEL).verdict == "agrees" and library.open(MODEL).tensors == HERE


def test_a_server_that_is_not_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused(MissingInput, "127.0.0.1:9 cannot be reached")
    monkeypatch.setenv("HF_ENDPOINT", "http://host.invalid")
    refused(MissingInput, "host.invalid is not found")
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    refused(WeightsmithError, "is no address of a server")


def test_what_could_not_be_asked_for_is_not_absent(hub: Hub) -> None:
    """A room does without a card or a tokenizer that it cannot read; an answer must not rest on that."""

    def fault(asked: Asked, answer: Answer) -> None:
        if "tokenizer_config.json" in asked.path:
            answer.status = 503

    hub.fault = fault
    for command in (library.infer, library.inspect, library.fits):
        with pytest.raises(MissingInput, match=r"tokenizer_config\.json: the server failed"):
            command(MODEL)
            assert command is library.fits  # which does not look at it
            raise MissingInput("tokenizer_config.json", "the server failed", "-")
    assert library.check(MODEL).verdict == "unreadable"


def test_a_config_that_could_not_be_asked_for_chooses_no_weights(hub: Hub) -> None:
    """transformers_weights in it may name others than the usual file."""

    def fault(asked: Asked, answer: Answer) -> None:
        if "config.json" in asked.path:
            answer.status = 503

    hub.fault = fault
    refused(MissingInput, "config.json: the server failed (HTTP 503)")


def test_a_proxy_of_the_environment_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub itself takes whole URLs, as a proxy does."""
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", hub.url.replace("://", "://me:pass%40word@"))
    assert library.open(MODEL).tensors == HERE
    assert hub.asked[0].path.startswith("http://hub.invalid/api/models/")
    assert hub.asked[0].headers["Proxy-Authorization"] == "Basic bWU6cGFzc0B3b3Jk"
    monkeypatch.setenv("no_proxy", "hub.invalid")
    refused(MissingInput, "hub.invalid is not found")


@pytest.mark.parametrize(
    "arguments", [["check"], ["infer-config"], ["inspect"], ["fits"], ["diff", str(SOUND)]]
)
def test_the_command_line_says_it_in_one_line(hub: Hub, arguments: list[str]) -> None:
    for address in ("hf://org/absent", "hf://no address"):
        command = [sys.executable, "-m", "weightsmith", *arguments, address, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done
        document = json.loads(done.stdout)
        if arguments != ["check"]:
            assert document["error"]["kind"] == "missing-input"
            assert len(done.stderr.strip().splitlines()) == 1
        assert "Traceback" not in done.stderr
