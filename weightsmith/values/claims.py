"""What the files beside the weights claim about a ternary quantizer. Read as text or syntax tree, never run."""

from __future__ import annotations

import ast
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import read_small
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Real modeling files are 20 to 200 kB; a syntax tree takes some hundred bytes for each byte of its text.
_LARGEST_FILE = 1 << 19

_CODE_NAMES = re.compile(r"(model|quant|qat|convert|ternary|bitlinear|configuration)", re.IGNORECASE)
_CARD_NAMES = re.compile(r"(readme|model_?card)[^/]*\.(md|txt|rst)$", re.IGNORECASE)
_TERNARY = re.compile(r"ternary|1\.58[- ]?bit|bitlinear|三[元值]", re.IGNORECASE)
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
_GROUP_NAMES = frozenset({"group_size", "groupsize", "quant_group_size", "weight_group_size", "q_group_size"})


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


def read_claims(root: Path, config: Mapping[str, object] | None) -> Claims:
    """Claims of the Python files, cards and the config at the top of a checkpoint's folder."""
    found: list[Claim] = []
    read: list[str] = []
    for name in sorted(os.listdir(root)) if root.is_dir() else ():  # noqa: PTH208 - there may be many
        code = name.endswith(".py") and _CODE_NAMES.search(name) is not None
        if not (code or _CARD_NAMES.match(name)):
            continue
        text = _text(root / name)
        if text is None:
            continue
        read.append(name)
        found += _code_claims(name, text) if code else _card_claims(name, text)
    if config is not None:
        read.append("config.json")
        found += _config_claims(config, "")
    return Claims(tuple(_from_files_that_name_a_quantizer(found)), tuple(read))


def _text(path: Path) -> str | None:
    try:
        return read_small(path, _LARGEST_FILE).decode("utf-8", "replace")
    except WeightsmithError:
        return None  # what cannot be read claims nothing


def _from_files_that_name_a_quantizer(found: list[Claim]) -> Iterator[Claim]:
    """Only the claims of files that name a ternary quantizer too, and of config.json where any file names one."""
    naming = {c.file for c in found if c.ternary}
    trusted = naming | {"config.json"} if naming else naming
    return (c for c in found if c.file in trusted)


def _code_claims(file: str, text: str) -> list[Claim]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # no Python, or Python built to break a parser: it claims nothing
    found: list[Claim] = []
    # ast.walk keeps its own queue, so a deep tree costs no stack.
    for node in ast.walk(tree):
        found += _quantizer_names(file, node)
        found += _stated_sizes(file, node)
    return found


def _quantizer_names(file: str, node: ast.AST) -> Iterator[Claim]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and _TERNARY.search(node.name):
        yield Claim(file, node.lineno, f"defines {node.name}", ternary=True)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.lower() == "ternary":
        yield Claim(file, node.lineno, 'names the quantizer "ternary"', ternary=True)


def _stated_sizes(file: str, node: ast.AST) -> Iterator[Claim]:
    if isinstance(node, ast.Call):
        yield from _sizes_in_call(file, node)
    elif isinstance(node, ast.FunctionDef):
        yield from _sizes_in_defaults(file, node)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        yield from _sizes_in_assignment(file, node)
    elif isinstance(node, ast.Dict):
        yield from _sizes_in_dict(file, node)


def _sizes_in_call(file: str, node: ast.Call) -> Iterator[Claim]:
    """`f(group_size=128)`, and `add_argument("--group-size", default=128)`."""
    option = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
    for keyword in node.keywords:
        size = _size(keyword.value)
        if size is None:
            continue
        if keyword.arg in _GROUP_NAMES:
            yield Claim(file, node.lineno, f"passes {keyword.arg}={size}", group_size=size)
        elif keyword.arg == "default" and _is_group_name(option):
            what = f"has the option {option!s} with default {size}"
            yield Claim(file, node.lineno, what, group_size=size, default=True)


def _sizes_in_defaults(file: str, node: ast.FunctionDef) -> Iterator[Claim]:
    """`def f(group_size=128)`."""
    positional = [*node.args.posonlyargs, *node.args.args]
    pairs: list[tuple[ast.arg, ast.expr | None]] = list(
        zip(positional[len(positional) - len(node.args.defaults) :], node.args.defaults, strict=True)
    )
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    for argument, value in pairs:
        if argument.arg in _GROUP_NAMES and (size := _size(value)) is not None:
            what = f"gives {node.name} the default {argument.arg}={size}"
            yield Claim(file, node.lineno, what, group_size=size, default=True)


def _sizes_in_assignment(file: str, node: ast.Assign | ast.AnnAssign) -> Iterator[Claim]:
    """`group_size = 128`, `self.group_size: int = 128`."""
    size = _size(node.value)
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", None)
        if size is not None and _is_group_name(name):
            yield Claim(file, node.lineno, f"sets {name} = {size}", group_size=size)


def _sizes_in_dict(file: str, node: ast.Dict) -> Iterator[Claim]:
    """`{"group_size": 128}`."""
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and _is_group_name(key.value) and (size := _size(value)) is not None:
            yield Claim(file, key.lineno, f'sets "{key.value!s}": {size}', group_size=size)


def _is_group_name(value: object) -> bool:
    return isinstance(value, str) and value.lstrip("-").replace("-", "_").lower() in _GROUP_NAMES


def _size(node: ast.expr | None) -> int | None:
    """A group size written as a literal: -1 or a positive integer."""
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    literal = node.operand if isinstance(node, ast.UnaryOp) else node
    if not isinstance(literal, ast.Constant) or type(literal.value) is not int:
        return None
    value = -literal.value if negative else literal.value
    return value if value == -1 or value > 0 else None


def _card_claims(file: str, text: str) -> list[Claim]:
    found: list[Claim] = []
    for number, line in enumerate(text.splitlines(), 1):
        if _TERNARY.search(line) and _CARD_SUBJECT.search(line) and not _DENIAL.search(line):
            fused = _SAYS_FUSED.search(line) is not None
            found.append(Claim(file, number, f'says "{_shorten(line)}"', ternary=True, fused=fused))
        for match in _CARD_GROUP.finditer(line):
            found.append(Claim(file, number, f'says "{_shorten(line)}"', group_size=int(match[1])))
    return found


def _shorten(line: str) -> str:
    """A card's line without its Markdown and without characters that would drive a terminal."""
    printable = "".join(c if c.isprintable() else " " for c in line)
    text = " ".join(re.sub(r"[*`#>|]+", " ", printable).split())
    return text if len(text) <= 100 else text[:97] + "..."


def _names_ternary(name: str, key: str, value: object) -> bool:
    """A quantization key with the value "ternary", or a key of that name which is not switched off."""
    if isinstance(value, str) and _TERNARY.search(value) and "quant" in name:
        return True
    return _TERNARY.search(key) is not None and bool(value)


def _config_claims(config: Mapping[str, object], prefix: str) -> list[Claim]:
    found: list[Claim] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found += _config_claims(value, f"{name}.")
        elif _names_ternary(name, key, value):
            found.append(Claim("config.json", 0, f"has {name} = {json.dumps(value)}", ternary=True))
        elif key in _GROUP_NAMES and type(value) is int and (value == -1 or value > 0):
            found.append(Claim("config.json", 0, f"has {name} = {value}", group_size=value))
    return found
