"""The licence of a checkpoint, as its card or its licence file names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import names_in, open_own
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from weightsmith.checkpoint.place import Place
    from weightsmith.documents import LicenceEntry

# Of a card its front matter stands first, of a licence its title.
_BEGINNING = 1 << 16
_CARD = re.compile(r"(readme|model_?card)\.md", re.IGNORECASE)
_FILE = re.compile(r"(licen[cs]e|copying)([-_.][\w.-]*)?", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
# `license: mit`, `license: [mit]`, or a list below it. A licence called "other" has its name in another line.
_NAMED = re.compile(r"^licen[cs]e:[ \t]*(?:\n[ \t]*-[ \t]*)?([^\n#]+)", re.MULTILINE)
_OTHER = re.compile(r"^licen[cs]e_name:[ \t]*([^\n#]+)", re.MULTILINE)
# What the first words of a licence's text are, and its SPDX name; of the GNU licences the version follows.
_TITLES = (
    (re.compile(r"apache license\W+version 2\.0", re.IGNORECASE), "Apache-2.0"),
    (re.compile(r"\bmit license\b|permission is hereby granted, free of charge", re.IGNORECASE), "MIT"),
    (re.compile(r"gnu affero general public license\W+version 3", re.IGNORECASE), "AGPL-3.0"),
    (re.compile(r"gnu lesser general public license\W+version 3", re.IGNORECASE), "LGPL-3.0"),
    (re.compile(r"gnu general public license\W+version 3", re.IGNORECASE), "GPL-3.0"),
    (re.compile(r"gnu general public license\W+version 2", re.IGNORECASE), "GPL-2.0"),
    (re.compile(r"redistribution and use in source and binary forms", re.IGNORECASE), "BSD"),
)
_LONGEST_NAME = 80
_TITLE_WITHIN = 2000


@dataclass(frozen=True, slots=True)
class Licence:
    """name: as the card has it, an SPDX name where the text is a known one, else the first line of the text."""

    name: str
    file: str

    def document(self) -> LicenceEntry:
        """The `licence` of the JSON of `inspect`."""
        return {"name": self.name, "file": self.file}


def licence_of(root: Place) -> Licence | None:
    """What the card says, else what the licence file is; None where neither says anything."""
    names = sorted(names_in(root))
    for pattern, reader in ((_CARD, _of_card), (_FILE, _of_text)):
        for file in filter(pattern.fullmatch, names):
            name = reader(_beginning(root / file))
            if name:
                return Licence(name[:_LONGEST_NAME], file)
    return None


def _beginning(path: Place) -> str:
    try:
        with open_own(path) as file:
            return file.read(0, min(file.size, _BEGINNING)).decode("utf-8", "replace").replace("\r\n", "\n")
    except WeightsmithError:
        return ""


def _of_card(text: str) -> str:
    front = _FRONT_MATTER.match(text)
    if front is None:
        return ""
    found = _NAMED.search(front[1])
    name = "" if found is None else found[1].strip(" \t[]\"'")
    other = _OTHER.search(front[1])
    return other[1].strip(" \t\"'") if name in ("", "other") and other is not None else name


def _of_text(text: str) -> str:
    title = text[:_TITLE_WITHIN]
    known = next((name for pattern, name in _TITLES if pattern.search(title)), "")
    return known or next((line.strip() for line in title.splitlines() if line.strip()), "")
