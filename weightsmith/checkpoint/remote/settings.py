"""What the environment says of the hubs: endpoints, tokens, caches, and whether anybody may be asked at all.

Names and defaults are those of the hub libraries, so that who has set these up need not do it again:
huggingface_hub 2.4, constants.py and utils/_auth.py; modelscope_hub 0.5, config.py and constants.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.remote.connections import server_of
from weightsmith.errors import Usage, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRUE = frozenset({"1", "ON", "YES", "TRUE"})
_HF, _MODELSCOPE = "https://huggingface.co", "https://www.modelscope.cn"
_LONGEST_TOKEN = 4096


def is_offline() -> bool:
    """HF_HUB_OFFLINE, and TRANSFORMERS_OFFLINE, which huggingface_hub heeds as well."""
    return _is_true(os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE"))


def hf_endpoint() -> str:
    """HF_ENDPOINT, such as a mirror's. Raises Usage where it is no web address."""
    return _endpoint("HF_ENDPOINT", os.environ.get("HF_ENDPOINT") or _HF)


def modelscope_endpoint() -> str:
    """MODELSCOPE_ENDPOINT, or the older MODELSCOPE_DOMAIN, a host; `https://` where they name no scheme."""
    for name in ("MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN"):
        if named := os.environ.get(name, "").strip():
            return _endpoint(name, named if "://" in named else f"https://{named}")
    return _MODELSCOPE


def _endpoint(name: str, url: str) -> str:
    try:
        server_of(url)
    except ValueError:
        raise Usage(name, "is no address of a server", "set it to https://HOST, or unset it") from None
    return url.rstrip("/")


def timeout() -> float | None:
    """HF_HUB_DOWNLOAD_TIMEOUT in seconds; None where it is not set."""
    text = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "").strip()
    return float(text) if text.isdigit() and 0 < int(text) < 86_400 else None


@dataclass(frozen=True, slots=True)
class Credential:
    """Who asks. headers: for the hub alone. source: where it is from, as an error line says it."""

    headers: Mapping[str, str]
    source: str


NOBODY = Credential({}, "")


def hf_credential(endpoint: str) -> Credential:
    """For the hub itself or the endpoint that the user set, and for no other.

    HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the file of `hf auth login`.
    """
    if server_of(endpoint) not in {server_of(hf_endpoint()), server_of(_HF)}:
        return NOBODY
    if _is_true(os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")):
        return NOBODY
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := _clean(name, os.environ.get(name, "")):
            return Credential({"Authorization": f"Bearer {token}"}, name)
    file = Path(os.path.expandvars(os.environ.get("HF_TOKEN_PATH") or hf_home() / "token")).expanduser()
    token = _clean(str(file), _text(file))
    return Credential({"Authorization": f"Bearer {token}"}, str(file)) if token else NOBODY


def modelscope_credential() -> Credential:
    """MODELSCOPE_API_TOKEN, as a header and as the older cookie: some of the hub's servers know only one of them
    (modelscope_hub, _legacy_api.py, `_ensure_session_auth`)."""
    name = "MODELSCOPE_API_TOKEN"
    token = _clean(name, os.environ.get(name, ""))
    headers = {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"}
    return Credential(headers, name) if token else NOBODY


def hf_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expandvars(os.environ.get("HF_HOME") or f"{cache}/huggingface")).expanduser()


def hf_cache() -> Path:
    """The folder of `models--OWNER--NAME` folders."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named)).expanduser() if named else hf_home() / "hub"


def modelscope_cache() -> Path:
    """The folder in which some version of the library has put its models."""
    return Path(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope").expanduser()


def _is_true(text: str | None) -> bool:
    return (text or "").strip().upper() in _TRUE


def _text(path: Path) -> str:
    from weightsmith.checkpoint.small_file import read_small

    try:
        return read_small(path, _LONGEST_TOKEN, named=True).decode("utf-8", "replace")
    except WeightsmithError:
        return ""


def _clean(name: str, token: str) -> str:
    """A token goes into a header: a line break or another alphabet in it is a mistake."""
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token or ";" in token:
        raise Usage(
            name, "holds characters that no token has", "set it again, without quotes and line breaks"
        )
    return token
