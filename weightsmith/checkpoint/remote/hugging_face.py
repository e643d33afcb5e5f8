"""The Hugging Face hub, or a mirror of it: one request lists a repository at one commit, all others are for its files.

Protocol: huggingface_hub 2.4, hf_api.py (`model_info` with `files_metadata`), constants.py
(HUGGINGFACE_CO_URL_TEMPLATE), utils/_http.py (`hf_raise_for_status`: X-Error-Code, and that 401 stands for a repository
that does not exist, too).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.remote.address import in_url
from weightsmith.checkpoint.remote.http_content import HttpContent, Target
from weightsmith.checkpoint.remote.repository import Entry, ask_listing, http_fact, is_path_inside, no_listing
from weightsmith.checkpoint.remote.settings import Credential, hf_cache, hf_credential, hf_endpoint
from weightsmith.checkpoint.remote.transport import Ask
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.checkpoint.remote.address import Address
    from weightsmith.checkpoint.remote.content import HttpRefusedError, Reach
    from weightsmith.checkpoint.remote.transport import Transport
    from weightsmith.errors import WeightsmithError
    from weightsmith.json_value import Json

_MAIN = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(slots=True)
class HuggingFace:
    """One repository. commit: that of the listing; every file is asked for at it, whatever is pushed meanwhile."""

    address: Address
    transport: Transport
    endpoint: str
    credential: Credential
    commit: str = ""

    @classmethod
    def of(cls, address: Address, transport: Transport) -> HuggingFace:
        """Raises Usage where the environment names no endpoint, or a token that is none."""
        endpoint = address.host or hf_endpoint()
        return cls(address, transport, endpoint, hf_credential(endpoint))

    @property
    def base(self) -> str:
        revision = self.address.revision
        return f"hf://{self.address.repository}" + (f"@{quote(revision, safe='/')}" if revision else "")

    def files(self) -> Mapping[str, Entry]:
        revision = quote(self.address.revision or _MAIN, safe="")
        url = f"{self.endpoint}/api/models/{self.address.repository}/revision/{revision}?blobs=true"
        found = ask_listing(self.transport, Ask(url, self.base, self.credential.headers), self.explain)
        commit, siblings = found.get("sha"), found.get("siblings")
        if not (isinstance(commit, str) and _COMMIT.fullmatch(commit) and isinstance(siblings, list)):
            raise no_listing(self.base, "without a commit")
        self.commit = commit
        blobs = repository_cache(self.address) / "blobs"
        return dict(self._entry(one, blobs) for one in siblings)

    def _entry(self, described: Json, blobs: Path) -> tuple[str, Entry]:
        """A file, with its bytes from the cache where the hub's own library has put them: blobs are named by what the
        hub calls their bytes (SHA-256 of large files, git's hash of others)."""
        one = described if isinstance(described, dict) else {}
        name, size, large = one.get("rfilename"), one.get("size"), one.get("lfs")
        digest = large.get("sha256") if isinstance(large, dict) else one.get("blobId")
        # Some mirrors know no sizes: the server of the file says it then.
        if not is_path_inside(name) or not (size is None or (type(size) is int and size >= 0)):
            raise no_listing(self.base, f"with an entry that is none ({quoted(name)})")
        digest = digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else ""
        local = blobs / digest
        here = bool(digest) and local.is_file() and local.stat().st_size == size
        return str(name), Entry(size, digest, local if here else None)

    def asked_for(self) -> tuple[str, ...]:
        return ()

    def content(self, file: str, size: int | None, reach: Reach) -> HttpContent:
        url = f"{self.endpoint}/{self.address.repository}/resolve/{self.commit}/{in_url(file)}"
        target = Target(url, f"{self.base}/{file}", self.credential.headers)
        return HttpContent(self.transport, target, size, self.explain, reach)

    def explain(self, refused: HttpRefusedError, subject: str) -> WeightsmithError:
        code, repository = refused.headers.get("X-Error-Code", ""), self.address.repository
        who = self.credential.source
        if code == "GatedRepo":
            fact = f"is gated, and {f'the token of {who} may not read it' if who else 'no token is set'}"
            ask = f"accept its terms at {self.endpoint}/{repository}"
            return MissingInput(subject, fact, ask if who else f"{ask} and set HF_TOKEN (or `hf auth login`)")
        if code == "RevisionNotFound":
            fact = f"the repository has no revision {quoted(self.address.revision or _MAIN)}"
            return MissingInput(subject, fact, f"see the branches and tags of {self.endpoint}/{repository}")
        if code == "EntryNotFound":
            return MissingInput(subject, "no such file in the repository", "check its name and the revision")
        if refused.headers.get("X-Error-Message") == "Invalid credentials in Authorization header":
            return MissingInput(
                subject, f"the hub does not know the token of {who}", "set a valid one, or unset it"
            )
        if code == "RepoNotFound" or (refused.status in (401, 404) and not self.commit):
            seen = f"none that the token of {who} may see" if who else "none that may be seen without a token"
            way_out = "check its name" if who else "check its name; where it is private, set HF_TOKEN"
            return MissingInput(subject, f"no such repository at {self.endpoint}, or {seen}", way_out)
        if refused.status == 403:
            return MissingInput(subject, f"may not be read ({http_fact(refused)})", "use a token that may")
        return MissingInput(subject, http_fact(refused), "check the address and the endpoint")


def repository_cache(address: Address) -> Path:
    """The repository's folder in the cache of huggingface_hub (file_download.py, `repo_folder_name`)."""
    return hf_cache() / f"models--{address.repository.replace('/', '--')}"


def cached_snapshot(address: Address) -> Path | None:
    """The folder of the files of a revision in that cache; None where it has none. Nobody is asked."""
    folder, revision = repository_cache(address), address.revision or _MAIN
    ref = folder / "refs" / revision
    commit = revision
    if not _COMMIT.fullmatch(revision):
        try:
            commit = ref.read_text(encoding="ascii").strip()[:64]
        except (OSError, UnicodeDecodeError):
            return None
    snapshot = folder / "snapshots" / commit
    return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None
