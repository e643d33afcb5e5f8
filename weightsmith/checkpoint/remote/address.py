"""What an address says: the hub, the repository, the revision and the path in it. Text only, nothing is asked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn
from urllib.parse import SplitResult, quote, unquote, urlsplit

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.remote.connections import Server, server_of
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["hf", "modelscope", "web", "objects"]
_SCHEMES: dict[str, Kind] = {
    "hf": "hf",
    "modelscope": "modelscope",
    "https": "web",
    "http": "web",
    "s3": "objects",
    "oss": "objects",
}
# huggingface_hub, utils/_validators.py (`validate_repo_id`): at most 96 characters, neither `--` nor `..`.
_NAME = re.compile(r"[A-Za-z0-9_](?:[\w.-]*\w)?", re.ASCII)
_LONGEST_NAME, _LONGEST = 96, 4096
# huggingface_hub, hf_file_system.py: revisions with a slash that need not be percent-encoded.
_SPECIAL = re.compile(r"refs/(?:convert/[\w-]+|pr/[0-9]+)", re.ASCII)
_REVISION = re.compile(r"[\w./+=-]+", re.ASCII)
# The hubs' names in a browser, and the server that answers for each.
_HF_HOSTS = dict.fromkeys(("huggingface.co", "hf.co", "www.huggingface.co"), "https://huggingface.co")
_MODELSCOPE_HOSTS = {
    name: f"https://www.modelscope.{name.rpartition('.')[2]}"
    for name in ("modelscope.cn", "www.modelscope.cn", "modelscope.ai", "www.modelscope.ai")
}
# Characters of a URL; all others are percent-encoded (RFC 3986, 2.2).
AS_THEY_ARE = "%:/?#[]@!$&'()*+,;=~"
# What may be a secret: a user with a password, and a query, which may be a signature.
_SECRETS = re.compile(r"(?<=://)[^/?#@]*@(?=[^/])|\?.*")
_WAY_OUT = (
    "write hf://OWNER/NAME[@REVISION][/FILE], modelscope://OWNER/NAME[@REVISION][/FILE], or https://HOST/PATH"
)


@dataclass(frozen=True, slots=True)
class Address:
    """An address, parsed.

    text: as it is shown: as the user wrote it, but for a query, which may be a signature.
    host: `https://host[:port]` for a web address and for a hub that was named by its web address; empty where the
    environment names the hub.
    repository: `owner/name`, or the bucket; empty for a web address.
    revision: as it was written; None for the hub's default.
    inner: the path in the repository, or on the host, without slashes around it.
    query: of a web address.
    """

    text: str
    kind: Kind
    scheme: str
    repository: str
    revision: str | None = None
    inner: str = ""
    host: str = ""
    query: str = ""


def is_address(text: str) -> bool:
    """Whether a text is the address of something remote, and no path."""
    return "://" in text and text.partition("://")[0].lower() in _SCHEMES


def parse_address(text: str) -> Address:
    """Raises MissingInput for what is no address of a checkpoint."""
    scheme, _, rest = text.partition("://")
    kind = _SCHEMES.get(scheme.lower())
    if kind is None:
        _refuse(text, f"has the scheme {quoted(scheme)}, which is not read")
    odd = ' \\"<>^`{|}' if kind == "web" else "\\"
    if len(text) > _LONGEST or not text.isprintable() or any(sign in text for sign in odd):
        _refuse(text, "holds characters that no address has, or too many of them")
    if kind == "web":
        return _of_web(text)
    if kind == "objects":
        bucket, _, key = rest.partition("/")
        return Address(text, kind, scheme.lower(), _checked(text, bucket), inner=_inside(text, key))
    return _of_hub(text, kind, scheme.lower(), rest)


def _of_hub(text: str, kind: Kind, scheme: str, rest: str) -> Address:
    if "?" in rest or "#" in rest:
        _refuse(text, "has a query or a fragment, which a repository has not")
    parts = rest.rstrip("/").split("/")
    if parts[0] in ("datasets", "spaces", "buckets") and len(parts) > 1:
        _refuse(text, f"is one of the hub's {parts[0]}, not a model")
    # One name alone is one of the hub's first models, such as `gpt2`.
    count = 1 if len(parts) == 1 or (kind == "hf" and "@" in parts[0]) else 2
    last, at, begin = parts[count - 1].partition("@")
    repository = "/".join([*(_checked(text, part) for part in parts[: count - 1]), _checked(text, last)])
    odd = "--" in repository if kind == "hf" else count == 1
    if len(repository) > _LONGEST_NAME or odd:
        _refuse(text, "names no repository")
    after = "/".join(parts[count:])
    revision, inner = _revision(text, f"{begin}/{after}" if after else begin) if at else (None, after)
    return Address(text, kind, scheme, repository, revision, _inside(text, inner))


def _revision(text: str, rest: str) -> tuple[str, str]:
    """(revision, path) of what follows the `@`."""
    special = _SPECIAL.match(rest)
    if special and rest[special.end() : special.end() + 1] in ("", "/"):
        found, after = special[0], rest[special.end() + 1 :]
    else:
        found, _, after = rest.partition("/")
        found = unquote(found)
    if not _REVISION.fullmatch(found) or ".." in found:
        _refuse(text, "names no revision behind its @")
    return found, after


def _of_web(text: str) -> Address:
    try:
        url = urlsplit(text)
        server = server_of(text)
    except ValueError:
        _refuse(text, "names no host, or a user and a password, which would be shown in results")
    hub = _web_page_of_hub(text, url, server)
    if hub is not None:
        return hub
    shown = text.partition("#")[0]
    inner = _inside(text, unquote(url.path).lstrip("/"))
    shown = shown.partition("?")[0] + ("?…" if url.query else "")
    return Address(
        shown, "web", url.scheme, "", None, inner, _origin(url), quote(url.query, safe=AS_THEY_ARE)
    )


def _web_page_of_hub(text: str, url: SplitResult, server: Server) -> Address | None:
    """A model's page, folder or file on a hub, as a browser shows it; None for any other address."""
    parts = [unquote(part) for part in url.path.split("/") if part]
    host = server.host
    is_hf = host in _HF_HOSTS or server == _own_hub()
    if is_hf and parts and parts[0] not in ("api", "datasets", "spaces", "docs", "models"):
        count = 1 if len(parts) == 1 or parts[1] in _VIEWS else 2
        kind: Kind = "hf"
    elif host in _MODELSCOPE_HOSTS and parts[:1] == ["models"]:
        parts, count, kind = parts[1:], 2, "modelscope"
    else:
        return None
    named, view, rest = parts[:count], parts[count : count + 1], parts[count + 1 :]
    if len(named) < count or (view and view[0] not in _VIEWS):
        return None
    repository = "/".join(_checked(text, part) for part in named)
    revision, inner = _revision(text, "/".join(rest)) if rest and view[0] in _AT_REVISION else (None, "")
    hub = {**_HF_HOSTS, **_MODELSCOPE_HOSTS}.get(host) or _origin(url)
    return Address(text, kind, url.scheme, repository, revision, _inside(text, inner), hub)


_AT_REVISION = frozenset({"tree", "blob", "resolve", "raw"})
_VIEWS = _AT_REVISION | {"files", "summary", "file"}


def _own_hub() -> Server | None:
    """That of HF_ENDPOINT; a wrong one is told when it is asked."""
    try:
        return server_of(os.environ.get("HF_ENDPOINT", ""))
    except ValueError:
        return None


def _origin(url: SplitResult) -> str:
    return f"{url.scheme}://{url.netloc}"


def _checked(text: str, name: str) -> str:
    if not _NAME.fullmatch(name) or ".." in name:
        _refuse(text, f"has {quoted(name)} where the name of an owner, a repository or a bucket should be")
    return name


def _inside(text: str, inner: str) -> str:
    """A path in a repository: no step up, no empty step."""
    inner = inner.rstrip("/")
    steps = inner.split("/") if inner else []
    if any(step in ("", ".", "..") or not step.isprintable() or "\\" in step for step in steps):
        _refuse(text, "has a path with an empty step or a step upwards")
    return inner


def _refuse(text: str, fact: str) -> NoReturn:
    raise MissingInput(quoted(_SECRETS.sub("", text))[1:-1], fact, _WAY_OUT)


def in_url(steps: str | Sequence[str]) -> str:
    """A path as a URL has it."""
    return quote(steps if isinstance(steps, str) else "/".join(steps), safe="/")
