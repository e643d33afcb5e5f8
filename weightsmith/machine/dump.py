"""A machine kept as a file: its facts and what they came to, fit to be pasted; and two such files side by side."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.json_value import encode
from weightsmith.machine.facts import Facts
from weightsmith.machine.findings import diagnose
from weightsmith.records import NotARecord
from weightsmith.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from weightsmith.json_value import Json, JsonObject

# `//user:password@` in an address.
_CREDENTIALS = re.compile(r"(?<=//)[^/\s@]+@")
_HOME = re.compile(r"/(?:home|Users)/[^/\s:,'\"]+")
# A dump has some 20 kB.
_LARGEST = 256 << 10


@dataclass(frozen=True, slots=True)
class MachineComparison:
    """Two machines: what each comes to, and (fact, of the first, of the second) where they differ; "" for none."""

    conclusions: tuple[str, str]
    differences: tuple[tuple[str, str, str], ...]

    def document(self) -> JsonObject:
        """The JSON of the command line's contract."""
        rows = [{"fact": fact, "a": one, "b": other} for fact, one, other in self.differences]
        return {"command": "doctor", "conclusions": list(self.conclusions), "differences": rows}


def text(facts: Facts) -> bytes:
    """What `--dump` writes: facts and diagnosis, as JSON. `variables.is_of_the_stack` decides which variables are kept;
    names of users and what stands before an @ in an address are left out."""
    document = {"weightsmith": __version__, "facts": facts.to_json(), **diagnose(facts).document()}
    pasteable = {key: _pasteable(value) for key, value in document.items()}
    return (encode(pasteable) + "\n").encode()


def _pasteable(value: object) -> object:
    if isinstance(value, str):
        return _HOME.sub("/home/USER", _CREDENTIALS.sub("", value))
    if isinstance(value, dict):
        return {key: _pasteable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_pasteable(inner) for inner in value]
    return value


def read(path: Path) -> Facts:
    """The facts in a file that `--dump` wrote. Raises MissingInput and InvalidConfig."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise InvalidConfig(
                path, "is no regular file of a few kB", "name a file that doctor --dump wrote"
            )
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = (error.strerror or "unknown").lower()
        raise MissingInput(path, f"cannot be read ({why})", "name a file that doctor --dump wrote") from error
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(path, "is no JSON", "name a file that doctor --dump wrote") from error
    try:
        return Facts.from_json(found.get("facts") if isinstance(found, dict) else None)
    except NotARecord as error:
        raise InvalidConfig(
            path, f"is no dump of a machine: {error}", "make one with doctor --dump FILE"
        ) from error


def compare(first: Path, second: Path) -> MachineComparison:
    """Two files that `--dump` wrote. Raises MissingInput and InvalidConfig."""
    one, other = read(first), read(second)
    return MachineComparison(
        (diagnose(one).conclusion, diagnose(other).conclusion), tuple(_differences(one, other))
    )


def _differences(first: Facts, second: Facts) -> Iterator[tuple[str, str, str]]:
    one, other = dict(_leaves(first.to_json())), dict(_leaves(second.to_json()))
    for name in dict.fromkeys([*one, *other]):
        mine, yours = one.get(name, ""), other.get(name, "")
        if mine != yours:
            yield name, mine, yours


def _leaves(value: Json, place: str = "") -> Iterator[tuple[str, str]]:
    """Each value of a document with the way to it. Things of a list are told apart by home or number."""
    if isinstance(value, dict):
        for key, inner in cast("Mapping[str, Json]", value).items():
            yield from _leaves(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value):
            named = inner if isinstance(inner, dict) else {}
            yield from _leaves(inner, f"{place}[{named.get('home') or named.get('npu', number)}]")
    elif isinstance(value, list):
        yield place, ", ".join(map(str, value))
    else:
        yield place, "" if value is None else str(value)
