"""What the files beside the weights claim about a ternary quantizer. Read as text, never run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from weightsmith.checkpoint.file_bytes import system_failed
from weightsmith.checkpoint.small_file import names_in, read_small
from weightsmith.errors import WeightsmithError
from weightsmith.values.code_claims import is_group_name, statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint.place import Place

# Real modeling files are 20 to 200 kB; of a folder, all that count have half a megabyte.
_LARGEST_FILE = 1 << 19
_LARGEST_FOLDER = 1 << 20
# Of all code that names a quantizer; a real modeling file of 200 kB has 50,000.
_MOST_WORDS = 200_000
# Of one file: real ones make a handful. Of one line: what stands in its first part.
_MOST_CLAIMS = 100
_LONGEST_LINE = 4096

_CODE_NAMES = re.compile(r"(model|quant|qat|convert|ternary|bitlinear|configuration)", re.IGNORECASE)
_CARD_NAMES = re.compile(r"(readme|model_?card)[^/]*\.(md|txt|rst)$", re.IGNORECASE)
_TERNARY = re.compile(r"ternary|1\.58[- ]?bit|bitlinear|三[元值]", re.IGNORECASE)
# Lines without any of these claim nothing.
_CARD_WORD = re.compile(r"ternary|1\.58|bitlinear|三[元值]|group|分组", re.IGNORECASE)
# A card's sentence counts when it speaks of this model's weights or quantizer, and does not deny it.
_CARD_SUBJECT = re.compile(
    r"weight|quanti[sz]|qat|bitcpm|\{\s*-1\s*,\s*0\s*,\s*\+?1\s*\}|权重|量化", re.IGNORECASE
)
# "already fused", "fused into", "pseudo-quantized": the card says that nothing is left to be done.
_SAYS_FUSED = re.compile(
    r"already[ -]fused|fused (?:in|weights)|pseudo-quantized (?:weights|format)|已(?:经)?融合", re.IGNORECASE
)
_DENIAL = re.compile(r"\b(not|no|isn't|without|unlike|non)[- ]+(a |any )?(ternary|1\.58)", re.IGNORECASE)
_CARD_GROUP = re.compile(
    r"(?:--group[_-]size[ =]+|group[ _-]size\W{0,3}(?:of|is|=|:)?\W{0,3}|groups? of |分组大小\W{0,3})(-1|[0-9]{1,6})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement: `file` says `what`, on `line` (0: the whole file). Not checked against the weights.

    ternary: it says that the weights are meant to be ternary. group_size: the group size that it states.
    default: that number is only a default value, which the publisher may have overridden.
    fused: it says that the quantizer is already fused into the weights.
    """

    file: str
    line: int
    what: str
    ternary: bool = False
    group_size: int | None = None
    default: bool = False
    fused: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place} {self.what}"


@dataclass(frozen=True, slots=True)
class Claims:
    """All statements found, and the names of the files that were read for them."""

    found: tuple[Claim, ...]
    read: tuple[str, ...]

    @property
    def ternary(self) -> tuple[Claim, ...]:
        """Most telling first: code that quantizes, then a card that says it is done, then the rest."""
        claims = (c for c in self.found if c.ternary)
        return tuple(sorted(claims, key=lambda c: (not c.file.endswith(".py"), not c.fused)))

    @property
    def sizes(self) -> tuple[Claim, ...]:
        """The statements of a group size: those made outright, or, when there are none, the defaults."""
        stated = tuple(c for c in self.found if c.group_size is not None)
        return tuple(c for c in stated if not c.default) or stated

    @property
    def group_size(self) -> int | None:
        """The one group size that they agree on."""
        sizes = {c.group_size for c in self.sizes}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def quantizing_code(self) -> tuple[str, ...]:
        """The Python files that hold a ternary quantizer: run on fused weights, they would fuse a second time."""
        return tuple(sorted({c.file for c in self.ternary if c.file.endswith(".py")}))


def read_claims(root: Place, config: Mapping[str, object] | None) -> Claims:
    """Claims of the Python files, cards and the config at the top of a checkpoint's folder.

    Raises MissingInput where the disk fails: what was not read could have claimed something.
    """
    found: list[Claim] = []
    read: list[str] = []
    left, budget = _LARGEST_FOLDER, iter(range(_MOST_WORDS))
    for name in sorted(filter(_may_claim, names_in(root))):
        text = _text(root / name, min(left, _LARGEST_FILE))
        if text is None:
            continue
        left -= len(text)
        read.append(name)
        claims = _code_claims(name, text, budget) if name.endswith(".py") else _card_claims(name, text)
        found += islice(claims, _MOST_CLAIMS)
    if config is not None:
        read.append("config.json")
        found += islice(_config_claims(config, ""), _MOST_CLAIMS)
    return Claims(tuple(_from_files_that_name_a_quantizer(found)), tuple(read))


def _may_claim(name: str) -> bool:
    if name.endswith(".py"):
        return _CODE_NAMES.search(name) is not None
    return _CARD_NAMES.match(name) is not None


def _text(path: Place, at_most: int) -> str | None:
    try:
        return read_small(path, at_most).decode("utf-8", "replace")
    except WeightsmithError as error:
        if system_failed(error):
            raise
        return None  # what is no file for us claims nothing


def _from_files_that_name_a_quantizer(found: list[Claim]) -> Iterator[Claim]:
    """Only the claims of files that name a ternary quantizer too, and of config.json where any file names one."""
    naming = {c.file for c in found if c.ternary}
    trusted = naming | {"config.json"} if naming else naming
    return (c for c in found if c.file in trusted)


def _code_claims(file: str, text: str, budget: Iterator[int]) -> Iterator[Claim]:
    if not _TERNARY.search(text):
        return  # group sizes of something else: they would not count
    for said in statements(text, budget):
        ternary = _TERNARY.search(said.defined) is not None or said.text.lower() == "ternary"
        if ternary or said.size is not None:
            line = text.count("\n", 0, said.at) + 1
            yield Claim(file, line, _shorten(said.what), ternary, said.size, said.default)


def _card_claims(file: str, text: str) -> Iterator[Claim]:
    end = 0
    for word in _CARD_WORD.finditer(text):
        if word.start() < end:
            continue
        start, end = text.rfind("\n", 0, word.start()) + 1, text.find("\n", word.start()) % (len(text) + 1)
        yield from _line_claims(file, text, start, min(end, start + _LONGEST_LINE))


def _line_claims(file: str, text: str, start: int, end: int) -> Iterator[Claim]:
    line = text[start:end]
    sizes = dict.fromkeys(int(match[1]) for match in _CARD_GROUP.finditer(line))
    ternary = _TERNARY.search(line) and _CARD_SUBJECT.search(line) and not _DENIAL.search(line)
    if not (ternary or sizes):
        return
    number, says = text.count("\n", 0, start) + 1, f'says "{_shorten(line)}"'
    if ternary:
        yield Claim(file, number, says, ternary=True, fused=_SAYS_FUSED.search(line) is not None)
    for size in sizes:
        yield Claim(file, number, says, group_size=size)


def _shorten(line: str) -> str:
    """A line without Markdown and without characters that would drive a terminal."""
    printable = "".join(c if c.isprintable() else " " for c in line)
    text = " ".join(re.sub(r"[*`#>|]+", " ", printable).split())
    return text if len(text) <= 100 else text[:97] + "..."


def _names_ternary(name: str, key: str, value: object) -> bool:
    """A quantization key with the value "ternary", or a key of that name which is not switched off."""
    if isinstance(value, str) and "quant" in name and _TERNARY.search(value):
        return True
    return _TERNARY.search(key) is not None and bool(value)


def _config_claims(config: Mapping[str, object], prefix: str) -> Iterator[Claim]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _config_claims(value, f"{name}.")
        elif _names_ternary(name, key, value):
            said = "a list" if isinstance(value, list) else _shorten(json.dumps(value))
            yield Claim("config.json", 0, f"has {_shorten(name)} = {said}", ternary=True)
        elif is_group_name(key) and type(value) is int and (value == -1 or value > 0):
            yield Claim("config.json", 0, f"has {_shorten(name)} = {value}", group_size=value)
