"""Text that others wrote (names, values, paths, logs), shown so that it can neither act on a terminal nor mislead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Control characters (C0, DEL, C1), invisible and directional marks, line and paragraph separators, tags, and halves of
# surrogate pairs, which stand for bytes of a file's name that are no UTF-8. The two joiners (U+200C, U+200D) stay:
# Persian and emoji are written with them.
_OTHERS = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_UNSEEN = re.compile(f"[\n{_OTHERS}]")
_UNSEEN_IN_JSON = re.compile(f"[{_OTHERS}]")
_MARK = " ... "


def visible(text: str) -> str:
    r"""`text` as one line: what would not be seen, or would act, becomes an escape such as \n, \x1b or \u202e."""
    if text.isprintable():  # one loop in C, and true for nearly every text
        return text
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def visible_json(text: str) -> str:
    r"""JSON text that means the same, with every such character in its strings as \uXXXX; line breaks stay."""
    return _UNSEEN_IN_JSON.sub(lambda found: _in_json(found[0]), text)


def _in_json(character: str) -> str:
    import json  # the command line needs it only where a document is printed

    return json.dumps(character)[1:-1]


def shortened(text: str, longest: int) -> str:
    """The text, or its beginning and its end when it has more than `longest` characters."""
    if len(text) <= longest:
        return text
    kept = max(longest - len(_MARK), 0)
    return f"{text[: kept - kept // 2]}{_MARK}{text[len(text) - kept // 2 :]}"


def fitted(parts: Sequence[str], longest: int) -> list[str]:
    """The parts with `longest` characters in all: the longest of them are cut, short ones stay whole."""
    room = dict.fromkeys(range(len(parts)), 0)
    left = longest
    for waiting, number in enumerate(sorted(room, key=lambda n: len(parts[n]))):
        room[number] = min(len(parts[number]), left // (len(parts) - waiting))
        left -= room[number]
    return [shortened(part, room[number]) for number, part in enumerate(parts)]
