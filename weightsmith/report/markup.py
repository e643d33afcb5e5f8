"""Elements of HTML and SVG, and foreign text in them."""

from __future__ import annotations

import html

from weightsmith.foreign_text import shortened, visible

# Characters of one piece of text; the answers of a model and the last line of a log stay below.
LONGEST = 2000
# Elements that HTML does not close.
_EMPTY = frozenset({"meta", "br"})


def escaped(foreign: str) -> str:
    """Any text, read as it is; its line ends stay."""
    lines = shortened(foreign.replace("\r\n", "\n"), LONGEST).split("\n")
    return html.escape("\n".join(map(visible, lines)))


def element(tag: str, content: str = "", /, **attributes: str | None) -> str:
    """An element around markup; attributes that are None are left out. `klass` is class, `_` in a name a dash."""
    given = {key: value for key, value in attributes.items() if value is not None}
    words = "".join(
        f' {"class" if key == "klass" else key.replace("_", "-")}="{html.escape(value)}"'
        for key, value in given.items()
    )
    return f"<{tag}{words}>" if tag in _EMPTY else f"<{tag}{words}>{content}</{tag}>"
