"""JSON from strangers: one object, strictly parsed, or one line that says what is wrong with it.

The one reader of every JSON file beside weights. It takes what Python's own reader takes of numbers, since published
configs are written by it: Mamba-2 has `"time_step_limit": [0.0, Infinity]`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.file_bytes import DOWNLOAD_ITSELF, LFS_POINTER, is_web_page
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.small_file import read_small
from weightsmith.errors import InvalidConfig

if TYPE_CHECKING:
    from weightsmith.checkpoint.place import Place
    from weightsmith.json_value import Json


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How much of a file is read: its bytes, the values in it, how deep they nest, and how many settings it has.

    Settings are the names of the outermost object, and of each `…_config` in it. depth, settings: None is no limit, but
    Python's own.
    """

    bytes: int
    values: int
    depth: int | None = None
    settings: int | None = None


# The largest real side files are tokenizers (33 MB, 2 million values) and the index of a 91,000-tensor model (10 MB).
SIDE_FILE = JsonLimits(64 << 20, 4_000_000)
# The largest real configs name the labels of 81,000 landmarks, in both directions; they nest up to 6 deep.
CONFIG_FILE = JsonLimits(8 << 20, 200_000, depth=64, settings=10_000)
# A result that the user kept: of 10,000 prompts it has 60 MB.
KEPT_RESULT = JsonLimits(128 << 20, 4_000_000, depth=64)
# A character beyond the first 65,536 makes Python hold the whole text four bytes wide: so much it may then be.
LARGEST_WIDE_TEXT = 40 << 20
# Real integers have up to 31 digits: `model_max_length` is 10^30, as the nearest double has it.
MOST_DIGITS = 128

_MEND = "mend the file or download it again"
# How a text begins where a comment stands in place of JSON.
_COMMENTS = ("//", "/*", "#")
_DIGITS_AS_ZEROS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
_WIDE_CHARACTER = re.compile(rb"[\xf0-\xf4]")
# An escaped half of a pair, with all backslashes before it: of an even number none is left to escape it.
_HALF = re.compile(rb"(?<!\\)\\+u[dD]([89a-fA-F])[0-9a-fA-F]{2}")


class JsonFaultError(ValueError):
    """Why a text is no acceptable JSON object: `fact` is half a sentence about the text, `way_out` what to do."""

    def __init__(self, fact: str, way_out: str = _MEND) -> None:
        super().__init__(fact)
        self.fact, self.way_out = fact, way_out


def parse_object(raw: bytes, *, infinities: bool = False, limits: JsonLimits = SIDE_FILE) -> dict[str, Json]:
    """The JSON object that `raw` (UTF-8) holds. Raises JsonFaultError.

    infinities: take `NaN`, `Infinity` and `-Infinity`, which are no JSON, as Python writes and reads them.

    Refused although Python's parser takes them: duplicate keys (two readers would see two files), half a surrogate pair
    (no text, and no file can hold it), integers of more than MOST_DIGITS digits, and what is beyond the limits.
    """
    _refuse_floods(raw, limits)
    long_digits = b"0" * (MOST_DIGITS + 1) in raw.translate(_DIGITS_AS_ZEROS)
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=None if infinities else _refuse_constant,
            parse_int=_short_integer if long_digits else None,
        )
    except UnicodeDecodeError as error:
        raise JsonFaultError(f"is not UTF-8 (byte {error.start:,})") from error
    except json.JSONDecodeError as error:
        raise _syntax_fault(error) from error
    except RecursionError as error:
        raise JsonFaultError("is nested too deeply") from error
    if not isinstance(value, dict):
        raise JsonFaultError(
            f"holds a {_KIND_OF_VALUE.get(type(value), 'value')} where an object is expected"
        )
    if limits.depth is not None and _is_deeper(value, limits.depth):
        raise JsonFaultError(f"is nested too deeply (more than {limits.depth} levels)")
    if limits.settings is not None:
        _refuse_crowds(value, limits.settings)
    return value


def read_json_object(path: Place, limits: JsonLimits = SIDE_FILE, *, named: bool = False) -> dict[str, Json]:
    """The JSON object in a side file (config, index, tokenizer).

    named: by the user, so that it may be a link to anywhere. Raises what `read_small` raises, and InvalidConfig when
    it holds no acceptable JSON object.
    """
    return _object_in(path, _read(path, limits, named), limits)


def read_json_text(
    path: Place, limits: JsonLimits = SIDE_FILE, *, named: bool = False
) -> tuple[dict[str, Json], str]:
    """(the JSON object in a file, the text that it stands in), of one reading of the file. Raises the same."""
    raw = _read(path, limits, named)
    return _object_in(path, raw, limits), raw.decode("utf-8")


def _read(path: Place, limits: JsonLimits, named: bool) -> bytes:
    raw = read_small(path, limits.bytes, named=named)
    if not raw.strip():
        raise InvalidConfig(path, "is empty", "download it again")
    if raw.startswith(LFS_POINTER):
        raise InvalidConfig(path, "is a git-lfs pointer, not the file itself", "run `git lfs pull`")
    if is_web_page(raw):
        raise InvalidConfig(path, "is a web page, not the file itself", DOWNLOAD_ITSELF)
    if raw.startswith(b"\xef\xbb\xbf"):
        raise InvalidConfig(path, "starts with a byte order mark", "save it as UTF-8 without one")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidConfig(path, "is UTF-16", "save it as UTF-8")
    return raw


def _object_in(path: Place, raw: bytes, limits: JsonLimits) -> dict[str, Json]:
    try:
        return parse_object(raw, infinities=True, limits=limits)
    except JsonFaultError as fault:
        raise InvalidConfig(path, fault.fact, fault.way_out) from fault


def _refuse_floods(raw: bytes, limits: JsonLimits) -> None:
    """Refuses what would take too much memory or be no text, before anything is built; each test is a pass in C."""
    # Every value but the last of a container is followed by a comma.
    if sum(raw.count(sign) for sign in (b",", b"[", b"{")) > limits.values:
        raise JsonFaultError(f"holds more than {limits.values:,} values")
    if len(raw) > LARGEST_WIDE_TEXT and not raw.isascii():
        characters = len(raw.translate(None, _CONTINUATION_BYTES))
        if characters > LARGEST_WIDE_TEXT and _WIDE_CHARACTER.search(raw):
            raise JsonFaultError(f"holds {characters:,} characters, more than {LARGEST_WIDE_TEXT:,}")
    half = _unpaired(raw) if b"\\u" in raw else None
    if half is not None:
        raise JsonFaultError(f"holds half a surrogate pair, {half}, which is no character")


def _unpaired(raw: bytes) -> str | None:
    """The first escaped half of a surrogate pair that stands without its other half."""
    high: re.Match[bytes] | None = None
    for found in _HALF.finditer(raw):
        backslashes = found.end() - found.start() - len(b"uD800")
        if backslashes % 2 == 0:
            continue
        is_low = found[1] in b"cdefCDEF"
        follows = high is not None and backslashes == 1 and high.end() == found.start()
        if (high is not None or is_low) and not (is_low and follows):
            return _shown(high or found)
        high = None if is_low else found
    return None if high is None else _shown(high)


def _shown(half: re.Match[bytes]) -> str:
    return half[0][-len(b"\\uD800") :].decode("ascii")


def _is_deeper(value: Json, depth: int) -> bool:
    """Whether containers nest in more than so many levels; counted level by level, since a call for each could fail."""
    level: list[object] = [value]
    for _ in range(depth):
        level = [
            inner
            for container in level
            for inner in (container.values() if isinstance(container, dict) else container)  # type: ignore[attr-defined]
            if type(inner) in (dict, list)
        ]
        if not level:
            return False
    return True


def _refuse_crowds(config: dict[str, Json], most: int) -> None:
    sections = ((name, inner) for name, inner in config.items() if name.endswith("_config"))
    for name, section in (("", config), *sections):
        if isinstance(section, dict) and len(section) > most:
            where = f" in {quoted(name)}" if name else ""
            raise JsonFaultError(f"holds {len(section):,} settings{where}, more than {most:,}")


def _short_integer(digits: str) -> int:
    """Python's own time for an integer grows with the square of its digits."""
    count = len(digits.removeprefix("-"))
    if count > MOST_DIGITS:
        raise JsonFaultError(f"holds an integer of {count:,} digits")
    return int(digits)


def _syntax_fault(error: json.JSONDecodeError) -> JsonFaultError:
    """Where the text is no JSON; a comment there is named as one."""
    if error.doc.startswith(_COMMENTS, error.pos):
        return JsonFaultError(
            f"holds a comment (line {error.lineno:,}), which JSON has not", "take the comment out"
        )
    return JsonFaultError(f"is no JSON ({error.msg.lower()}, character {error.pos:,})")


_KIND_OF_VALUE: dict[type, str] = {
    list: "list",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
}


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise JsonFaultError(f"has the key {quoted(key)} twice in one object", "keep one of the two")
            seen.add(key)
    return entries


def _refuse_constant(name: str) -> NoReturn:
    raise JsonFaultError(f"contains {name}, which is no JSON")
