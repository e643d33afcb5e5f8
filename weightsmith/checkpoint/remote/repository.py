"""What a hub says of one repository: its files at one fixed state, where each is fetched, and why it may not be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weightsmith.checkpoint.json_file import JsonFaultError, JsonLimits, parse_object
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.remote.content import HttpRefusedError
from weightsmith.errors import CorruptCheckpoint, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.checkpoint.remote.content import Content, Reach
    from weightsmith.checkpoint.remote.http_content import Explain
    from weightsmith.checkpoint.remote.transport import Ask, Reply, Transport
    from weightsmith.json_value import Json

# A repository of 100,000 files has a listing of some 30 MB.
LISTING = JsonLimits(64 << 20, 4_000_000, depth=32)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a repository.

    size: None where the server of the file alone can say. digest: of its bytes, as its hub has it; empty where it says
    none. local: the same bytes in a cache of this machine.
    """

    size: int | None
    digest: str = ""
    local: Path | None = None


class Repository(Protocol):
    """A folder that lies elsewhere."""

    @property
    def base(self) -> str:
        """The address of the folder, as results have it; a file in it is `base/file`."""
        ...

    def files(self) -> Mapping[str, Entry] | None:
        """All files by their paths in it; None where nobody lists them. Raises MissingInput, and CorruptCheckpoint
        where the answer is no list."""
        ...

    def asked_for(self) -> tuple[str, ...]:
        """Names that are worth asking for, where nobody lists them."""
        ...

    def content(self, file: str, size: int | None, reach: Reach) -> Content:
        """The bytes of a file that is there, to be read."""
        ...


def ask_listing(transport: Transport, ask: Ask, explain: Explain) -> dict[str, Json]:
    """The JSON object that a hub answers. Raises what `explain` makes; CorruptCheckpoint for an answer that is none."""

    def take(reply: Reply) -> bytes | None:
        if reply.status != 200:
            raise HttpRefusedError(reply)
        return reply.data(LISTING.bytes)

    try:
        raw = transport.exchange(lambda: ask, take)
    except HttpRefusedError as refused:
        raise explain(refused, ask.subject) from refused
    if raw is None:
        raise no_listing(ask.subject, f"of more than {LISTING.bytes:,} bytes")
    try:
        return parse_object(raw, limits=LISTING)
    except JsonFaultError as fault:
        raise no_listing(ask.subject, f"that {fault.fact}") from fault


def no_listing(subject: str, how: str) -> WeightsmithError:
    """The error line for a hub that answers something other than the list of a repository's files."""
    return CorruptCheckpoint(
        subject, f"the hub's answer is a list of files {how}", "check the endpoint, or download it"
    )


def is_path_inside(name: object) -> bool:
    """Whether a hub's name of a file is a path that stays in its repository."""
    return (
        isinstance(name, str)
        and name.isprintable()
        and "\\" not in name
        and not any(step in ("", ".", "..") for step in name.split("/"))
    )


def http_fact(refused: HttpRefusedError) -> str:
    """What a server's refusal says, where nothing better is known of it."""
    said = refused.headers.get("X-Error-Message", "")
    return f"the server answers HTTP {refused.status}" + (f" ({quoted(said)[1:-1]})" if said else "")
