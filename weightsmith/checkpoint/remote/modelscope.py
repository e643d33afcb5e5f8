"""The ModelScope hub: one request lists a repository, and each file is asked for at the commit that the list gives it.

Protocol: modelscope_hub 0.5, _legacy_api.py, _download.py and _cache_manager.py; for the older layout of the cache the
modelscope package before it, hub/file_download.py and hub/utils/caching.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from weightsmith.checkpoint.json_file import JsonFaultError, parse_object
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.remote.http_content import HttpContent, Target
from weightsmith.checkpoint.remote.repository import Entry, ask_listing, http_fact, is_path_inside, no_listing
from weightsmith.checkpoint.remote.settings import (
    NOBODY,
    Credential,
    modelscope_cache,
    modelscope_credential,
    modelscope_endpoint,
)
from weightsmith.checkpoint.remote.transport import Ask
from weightsmith.checkpoint.small_file import read_small
from weightsmith.errors import MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.checkpoint.remote.address import Address
    from weightsmith.checkpoint.remote.content import HttpRefusedError, Reach
    from weightsmith.checkpoint.remote.transport import Transport
    from weightsmith.json_value import Json

_MAIN, _SUCCESS = "master", 200
_COMMIT, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_LONGEST_NOTE = 4096


@dataclass(slots=True)
class ModelScope:
    """One repository. commits: of each file, that which the listing gives it."""

    address: Address
    transport: Transport
    endpoint: str
    credential: Credential
    commits: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, address: Address, transport: Transport) -> ModelScope:
        """The token goes to the endpoint of the environment alone. Raises Usage for a wrong setting."""
        ours = modelscope_endpoint()
        endpoint = address.host or ours
        return cls(address, transport, endpoint, modelscope_credential() if endpoint == ours else NOBODY)

    @property
    def base(self) -> str:
        revision = self.address.revision
        return f"modelscope://{self.address.repository}" + (
            f"@{quote(revision, safe='/')}" if revision else ""
        )

    @property
    def _api(self) -> str:
        return f"{self.endpoint}/api/v1/models/{self.address.repository}/repo"

    def files(self) -> Mapping[str, Entry]:
        query = urlencode({"Revision": self.address.revision or _MAIN, "Recursive": "True"})
        found = ask_listing(
            self.transport,
            Ask(f"{self._api}/files?{query}", self.base, self.credential.headers),
            self.explain,
        )
        data = found.get("Data")
        files = data.get("Files") if isinstance(data, dict) else None
        if found.get("Code") != _SUCCESS or not isinstance(files, list):
            raise no_listing(self.base, "without files")
        described = [one for one in files if isinstance(one, dict) and one.get("Type") != "tree"]
        return dict(map(self._entry, described))

    def _entry(self, one: dict[str, Json]) -> tuple[str, Entry]:
        name, size, digest, commit = (one.get(key) for key in ("Path", "Size", "Sha256", "Revision"))
        if not is_path_inside(name) or type(size) is not int or size < 0:
            raise no_listing(self.base, f"with an entry that is none ({quoted(name)})")
        if isinstance(commit, str) and _COMMIT.fullmatch(commit):
            self.commits[str(name)] = commit
        known = isinstance(digest, str) and _SHA256.fullmatch(digest)
        return str(name), Entry(size, str(digest) if known else "")

    def asked_for(self) -> tuple[str, ...]:
        return ()

    def content(self, file: str, size: int | None, reach: Reach) -> HttpContent:
        revision = self.commits.get(file) or self.address.revision or _MAIN
        query = urlencode({"Revision": revision, "FilePath": file})
        target = Target(f"{self._api}?{query}", f"{self.base}/{file}", self.credential.headers)
        return HttpContent(self.transport, target, size, self.explain, reach)

    def explain(self, refused: HttpRefusedError, subject: str) -> WeightsmithError:
        """The hub answers 404 for all that it does not show, and says in words what that is."""
        said, who = _message(refused), self.credential.source
        if refused.status in (401, 403, 404):
            seen = f"none that the token of {who} may see" if who else "none that may be seen without a token"
            way_out = "check the name and the revision"
            way_out += "" if who else "; where it is private, set MODELSCOPE_API_TOKEN"
            told = f" ({quoted(said)[1:-1]})" if said else ""
            return MissingInput(subject, f"no such repository, revision or file{told}, or {seen}", way_out)
        return MissingInput(subject, said or http_fact(refused), "check the address and MODELSCOPE_ENDPOINT")


def _message(refused: HttpRefusedError) -> str:
    try:
        said = parse_object(refused.text).get("Message")
    except JsonFaultError:
        return ""
    return said if isinstance(said, str) else ""


def cached_model(address: Address) -> Path | None:
    """The files of a repository's revision in the cache of the hub's library, as one of its versions laid it out; None
    where it has none. Nobody is asked."""
    places = (modelscope_cache(), modelscope_cache() / "hub")
    for place in places:
        found = _snapshot(place / "models" / address.repository.replace("/", "--"), address.revision)
        if found is not None:
            return found
    owner, _, name = address.repository.partition("/")
    above = [folder / owner for place in places for folder in (place / "models", place)]
    folders = [folder / spelled for folder in above for spelled in (name.replace(".", "___"), name)]
    return next((one for one in folders if one.is_dir() and _is_of(one, address.revision)), None)


def _snapshot(folder: Path, revision: str | None) -> Path | None:
    """A folder for each revision, by its name."""
    named = (revision,) if revision else (_MAIN, "main")
    return next((one for name in named if (one := folder / "snapshots" / name).is_dir()), None)


def _is_of(folder: Path, revision: str | None) -> bool:
    """Older versions keep one revision, and write down which."""
    if revision is None:
        return True
    try:
        stated = read_small(folder / ".mv", _LONGEST_NOTE).decode("utf-8", "replace")
    except WeightsmithError:
        return False
    return f"Revision:{revision}," in stated
