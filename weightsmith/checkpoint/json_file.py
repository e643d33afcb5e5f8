"""JSON from strangers: one object, strictly parsed, or one line that says what is wrong with it.

The one reader of every JSON file beside weights. It takes what Python's own reader takes of numbers, since published
configs are written by it: Mamba-2 has `"time_step_limit": [0.0, Infinity]`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.file_bytes import LFS_POINTER
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.small_file import read_small
from weightsmith.errors import InvalidConfig

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import Json

# The largest real side files are tokenizers (30 MB) and the index of a 91,000-tensor model (10 MB).
LARGEST_JSON = 64 << 20
# A tokenizer of 256,000 words has about 2 million values, a header of 91,000 tensors 1 million. The format's
# 100 MB could hold 33 million empty lists, which cost 2 GB and half a minute.
MOST_VALUES = 4_000_000


_MEND = "mend the file or download it again"
# How a text begins where a comment stands in place of JSON.
_COMMENTS = ("//", "/*", "#")


class JsonFaultError(ValueError):
    """Why a text is no acceptable JSON object: `fact` is half a sentence about the text, `way_out` what to do."""

    def __init__(self, fact: str, way_out: str = _MEND) -> None:
        super().__init__(fact)
        self.fact, self.way_out = fact, way_out


def parse_object(raw: bytes, *, infinities: bool = False) -> dict[str, Json]:
    """The JSON object that `raw` (UTF-8) holds. Raises JsonFaultError.

    infinities: take `NaN`, `Infinity` and `-Infinity`, which are no JSON, as Python writes and reads them.

    Refused although Python's parser takes them: duplicate keys (two readers would see two files), nesting beyond
    the interpreter's stack, millions of values.
    """
    # Every value but the last of a container is followed by a comma: one pass in C, before anything is built.
    if sum(raw.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        raise JsonFaultError(f"holds more than {MOST_VALUES:,} values")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=None if infinities else _refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise JsonFaultError(f"is not UTF-8 (byte {error.start:,})") from error
    except json.JSONDecodeError as error:
        raise _syntax_fault(error) from error
    except RecursionError as error:
        raise JsonFaultError("is nested too deeply") from error
    except JsonFaultError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise JsonFaultError(f"holds an unusable number ({str(error).split(';')[0].lower()})") from error
    if not isinstance(value, dict):
        raise JsonFaultError(
            f"holds a {_KIND_OF_VALUE.get(type(value), 'value')} where an object is expected"
        )
    return value


def read_json_object(path: Path, *, named: bool = False) -> dict[str, Json]:
    """The JSON object in a side file (config, index, tokenizer).

    named: by the user, so that it may be a link to anywhere. Raises what `read_small` raises, and InvalidConfig when
    it holds no acceptable JSON object.
    """
    return parse_json_object(path, read_small(path, LARGEST_JSON, named=named))


def parse_json_object(path: Path, raw: bytes) -> dict[str, Json]:
    """The same for bytes that were read from `path`."""
    if not raw.strip():
        raise InvalidConfig(path, "is empty", "download it again")
    if raw.startswith(LFS_POINTER):
        raise InvalidConfig(path, "is a git-lfs pointer, not the file itself", "run `git lfs pull`")
    if raw.startswith(b"\xef\xbb\xbf"):
        raise InvalidConfig(path, "starts with a byte order mark", "save it as UTF-8 without one")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidConfig(path, "is UTF-16", "save it as UTF-8")
    try:
        return parse_object(raw, infinities=True)
    except JsonFaultError as fault:
        raise InvalidConfig(path, fault.fact, fault.way_out) from fault


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
