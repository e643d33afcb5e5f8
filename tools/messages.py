"""`make messages`: the catalogue of weightsmith/locale, held to the sentences that stand in the sources.

What people read is found in the syntax trees: the phrases of `say`, and in the files of COVERED every text of at least
two words, which stands in the catalogue as a template where it is an f-string. New ones are added without a
translation, those that are gone are dropped, and the .mo is compiled. tests/test_messages.py holds all three in step.
"""

from __future__ import annotations

import ast
import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
PO = ROOT / "weightsmith" / "locale" / "zh_CN" / "LC_MESSAGES" / "weightsmith.po"
MO = PO.with_suffix(".mo")

# Files, all of whose sentences are in the catalogue. The other rooms are spoken of in docs/language.md.
COVERED = (
    "weightsmith/cli/*.py",
    "weightsmith/check/*.py",
    "weightsmith/check/forms/lines.py",
    "weightsmith/checkpoint/*.py",
    "weightsmith/checkpoint/remote/*.py",
    "weightsmith/checkpoint/training/*.py",
    "weightsmith/convert/*.py",
    "weightsmith/convert/*/*.py",
    "converters/*.py",
    "weightsmith/fits/*.py",
    "weightsmith/machine/*.py",
    "weightsmith/machine/findings/*.py",
    "weightsmith/machine/reading/machine.py",
    "weightsmith/machine/reading/surroundings.py",
    "weightsmith/machine/engines/tables.py",
    "weightsmith/determinism.py",
    "weightsmith/library.py",
    "weightsmith/process/*.py",
    "weightsmith/report/kinds.py",
    "weightsmith/report/schemas.py",
    "weightsmith/schemes/*.py",
    "weightsmith/shapes/*.py",
    "weightsmith/shapes/beside/*.py",
    "weightsmith/shapes/family/*.py",
    "weightsmith/shapes/given/*.py",
    "weightsmith/shapes/page/condition.py",
    "weightsmith/shapes/page/page.py",
    "weightsmith/shapes/reference/[!cm]*.py",
    "weightsmith/shapes/reference/child.py",
    "weightsmith/shapes/solve/*.py",
    "weightsmith/values/*.py",
    "weightsmith/verify/*.py",
    "weightsmith/verify/engine/[!s]*.py",
    "weightsmith/verify/likelihood/[!t]*.py",
    "weightsmith/verify/likelihood/tokenized.py",
    "weightsmith/verify/engine/serve*.py",
    "weightsmith/verify/inputs/[!p]*.py",
    "weightsmith/verify/inputs/pooling.py",
    "weightsmith/verify/inputs/prompts.py",
    "weightsmith/verify/judge/*.py",
    "weightsmith/verify/measure/*.py",
    "weightsmith/verify/reference/*.py",
    "weightsmith/verify/selftest/*.py",
    "weightsmith/verify/tasks/*.py",
    "weightsmith/values/beside/*.py",
    "weightsmith/values/unseen/*.py",
    "weightsmith/settle/*.py",
)
# What begins so is a command to copy, and no sentence.
_COMMANDS = re.compile(
    r"\s*(weightsmith ([a-z-]*(check|convert|diff|doctor|fits|infer|inspect|report|schema|verify)|\{)"
    r"|(pip|python|export|source|vllm) )"
)
# What wraps sentences of others: the parts are looked up by themselves.
ENVELOPES = ("{}: {}", "{} ({})", "({}) {}")
# What is put together of words that stand apart.
JOINED = (
    *(
        f"yet {{}} {claim}"
        for claim in (
            "defines {}",
            "sets {} = {}",
            'sets "{}": {}',
            "has {} = {}",
            "has the option {} with default {}",
            "gives {} the default {}={}",
            'names the quantizer "{}"',
            "passes {}={}",
            'says "{}"',
        )
    ),
    "{}: present",
    "mean KL of {}: {} nats",
    "{} of {} answers end in a loop",
    "{} of {} answers are garbage or empty",
    "{} of {} answers are one and the same",
    "{}: {} tensors that it places in {} are not there: {}",
    "{}: {} tensors that it places in {} lie in another shard: {}",
    "{}: {} tensors of {} are not in the index: {}",
    "neither {} nor its transformers {} has a class for model_type {}",
    "it takes {}",
    "{} files have the hashes that were written, {} the sizes (with --values hashes are compared)",
    "engine: {}",
    "reference: {}",
    "reference: importing",
    "server: {}",
    "repair it with `weightsmith infer-config {} --write`: {}",
    "the weights are {}: fuse them with `weightsmith convert {} DST --converter ternary`: {}",
    "the weights are damaged: {}",
    "the sampled rows of {}",
    "a drop of {}, chance explains up to {}, {} are tolerated: {} decides",
    "{} tensors are missing, such as {} and {} are not its own, such as {}",
    "is the slice of a model that one model-parallel rank held (Megatron: {})",
    "{}, that of a part",
    "vLLM has it since {}",
    "mean KL of prompt {}, the worst: {} nats",
)
# What click says, of its own sources.
CLICK = (
    "Show this message and exit.",
    "Missing command.",
    "Missing argument {}.",
    "Missing option {}.",
    "No such option: {}",
    "No such option {}.{}",
    "(Possible options: {})",
    "Did you mean {}?",
    "Option {} requires an argument.",
    "Option {} does not take a value.",
    "Invalid value: {}",
    "Invalid value for {}: {}",
    "{} is not one of {}.",
    "{} is not in the range {}.",
    "{} is not a valid {}.",
    "Got unexpected extra argument ({})",
    "Got unexpected extra arguments ({})",
)
_WORD = re.compile(r"[A-Za-z]*[a-z]{2,}")
_GAP = "{}"
# A gap that a room fills by str.format.
_NAMED = re.compile(r"\{\w+\}")
_HEADER = """\
Project-Id-Version: weightsmith
Language: zh_CN
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit
"""


@dataclass
class Message:
    """places: the files that say it. gaps: what fills those of a template, as the source has it."""

    places: set[str] = field(default_factory=set)
    gaps: list[str] = field(default_factory=list)


def extracted() -> dict[str, Message]:
    """Every message of the sources, by its English."""
    found: dict[str, Message] = {}
    for path in sources():
        place = str(path.relative_to(ROOT))
        for english, gaps in _messages(path, covered=is_covered(path)):
            message = found.setdefault(english, Message())
            message.places.add(place)
            message.gaps = message.gaps or gaps
    for english in (*ENVELOPES, *JOINED, *CLICK):
        found.setdefault(english, Message()).places.add("click" if english in CLICK else "weightsmith")
    return found


def sources() -> list[Path]:
    return [*sorted((ROOT / "weightsmith").rglob("*.py")), *sorted((ROOT / "converters").glob("*.py"))]


def is_covered(path: Path) -> bool:
    return any(path.relative_to(ROOT).match(pattern) for pattern in COVERED)


def uncovered() -> dict[str, set[str]]:
    """The sentences of each file that is not covered: as many as stay English, and some that nobody is told."""
    return {
        str(path.relative_to(ROOT)): {english for english, _ in _sentences(ast.parse(path.read_text()), path)}
        for path in sources()
        if not is_covered(path)
    }


def _messages(path: Path, *, covered: bool) -> Iterator[tuple[str, list[str]]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from _phrases(tree)
    if covered:
        yield from _sentences(tree, path)


def _phrases(tree: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """What `say` is given, and the words that `counted` counts."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "say":
            yield from ((text, []) for text in constants(node.args[0]))
        elif name == "counted" and len(node.args) > 1:
            one, *several = [text for argument in node.args[1:] for text in constants(argument)]
            yield from ((f"{{count}} {word}", []) for word in (one, *(several or [one + "s"])))


def constants(node: ast.AST) -> list[str]:
    """The texts of an expression: of `"a" if x else "b"` both, of a comparison none."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return [*constants(node.body), *constants(node.orelse)]
    return []


def _sentences(tree: ast.AST, path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every text of two words or more that is no docstring; of a command its docstring, which is its help."""
    passed = {id(node) for node in _not_told(tree)}
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            yield from _templates(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            whole = path.parent.name == "cli"  # options, whose help is one text
            for text in [node.value] if whole else _clauses(_NAMED.sub(_GAP, node.value)):
                if _is_sentence(text) and " " in text:
                    yield text.strip("\n"), []
    yield from ((text, []) for text in _of_docstrings(tree, path.parent.name))


def _of_docstrings(tree: ast.AST, room: str) -> Iterator[str]:
    """The help of a command, paragraph by paragraph; what `convert --list` shows of a converter."""
    for node in ast.walk(tree):
        if room == "cli" and isinstance(node, ast.FunctionDef) and node.name in ("command", "commands"):
            yield from map(_one_line, (ast.get_docstring(node) or "").split("\n\n"))
        elif room == "converters" and isinstance(node, ast.ClassDef):
            methods = {member.name for member in node.body if isinstance(member, ast.FunctionDef)}
            if "plan" in methods:
                yield (ast.get_docstring(node) or "").partition("\n")[0]


def _not_told(tree: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, the pieces of f-strings, and annotations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value
        elif isinstance(node, ast.JoinedStr):
            yield from (part for part in node.values if isinstance(part, ast.Constant))
            yield from (
                v.format_spec for v in node.values if isinstance(v, ast.FormattedValue) and v.format_spec
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _NOT_TOLD:
            yield from (inner for argument in node.args for inner in ast.walk(argument))


# Whose arguments nobody is told, or are looked at elsewhere.
_NOT_TOLD = {
    "re.compile",
    "re.sub",
    "re.search",
    "re.fullmatch",
    "re.match",
    "AttributeError",
    "Prompt",
    "say",
    "counted",
}
# Texts that look like sentences and are none: names of checks, pieces of commands, what others write.
_NO_SENTENCES = {
    "bold red",
    "Basic {}",
    "Bearer {}",
    "Invalid credentials in Authorization header",
    "there is always a next number",
    "cannot open shared object file",
    "model name",
    "backend extension",
    "cann variables",
    "cann version",
    "driver version",
    "hccl ports",
    "hrm-text adapter",
    "nnal version",
    "npu-smi info",
    "uid {}",
    "torch_npu {}",
    "transformers {}",
    "triton-ascend {}",
    "vllm-ascend {}",
    "docker run {}",
    "docker run -v {}/lib64:{}/lib64 -v {}/version.info:{}/version.info",
    "{} -m pip install --no-deps weightsmith",
}
# Types of JSON in the words of Python, and pieces of JSON.
_TYPES = re.compile(r"(dict|list|Mapping|Callable)\[|\"")
# A question to a model, an option with its value alone, an import, a regular expression.
_CODE = re.compile(r"Read the notes|--[\w-]+ \S+$|import \S+$|&& |.*(\\w|\[Oo\]|\|device)")


def _templates(node: ast.JoinedStr) -> Iterator[tuple[str, list[str]]]:
    """An f-string, clause by clause, its values as gaps."""
    text, gaps = "", []
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        elif not text.endswith(_GAP):
            text += _GAP
            gaps.append(ast.unparse(part)[1:-1])
        else:  # two values beside each other: nobody can tell where the first one ends
            gaps[-1] += ast.unparse(part)[1:-1]
    for clause in _clauses(text):
        own, gaps = gaps[: clause.count(_GAP)], gaps[clause.count(_GAP) :]
        if _is_sentence(clause):
            yield clause, own


def _clauses(text: str) -> list[str]:
    """The clauses of a text; a single word goes with what follows it, since nobody looks it up alone."""
    clauses: list[str] = []
    for part in text.split("; "):
        clause = part.strip(" ;\n")
        if clauses and " " not in clauses[-1] and clauses[-1] != _GAP:
            clauses[-1] += f"; {clause}"
        elif clause:
            clauses.append(clause)
    return clauses


def _is_sentence(text: str) -> bool:
    """Two words, or one beside a value."""
    words = _WORD.findall(text.replace(_GAP, ""))
    joined = re.search(r"[A-Za-z,:] [A-Za-z{(]|\} [a-z]", text)
    spoken = bool(joined) and bool(words) and not _COMMANDS.match(text)
    return spoken and text not in _NO_SENTENCES and not (_TYPES.match(text) or _CODE.match(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def read_po(text: str) -> dict[str, str]:
    """English → translation, of a .po without contexts and plurals."""
    entries: dict[str, str] = {}
    now: list[str] | None = None
    english: list[str] = []
    for row in text.splitlines():
        keyword, _, quoted = row.partition(" ") if row.startswith("msg") else ("", "", row)
        if keyword == "msgid":
            now = english = []
        elif keyword == "msgstr":
            now = []
        if quoted.startswith('"') and now is not None:
            now.append(ast.literal_eval(quoted))
            if now is not english:
                entries["".join(english)] = "".join(now)
    return {english: words for english, words in entries.items() if english}


def written_po(messages: Mapping[str, Message], translations: Mapping[str, str]) -> str:
    """The .po, in the order of the files and of the English."""
    blocks = ['msgid ""\nmsgstr ""\n' + "".join(f"{_quoted(line)}\n" for line in _HEADER.splitlines(True))]
    for english in sorted(messages, key=lambda key: (min(messages[key].places), key)):
        message = messages[english]
        notes = [f"#. {{{n}}} = {_one_line(gap)}" for n, gap in enumerate(message.gaps)]
        places = f"#: {' '.join(sorted(message.places))}"
        words = translations.get(english, "")
        blocks.append(
            "\n".join([*notes, places, f"msgid {_quoted(english)}", f"msgstr {_quoted(words)}"]) + "\n"
        )
    return "\n".join(blocks)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def compiled(translations: Mapping[str, str]) -> bytes:
    """The .mo, little-endian and without a hash table.

    https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html
    """
    entries = sorted(
        {"": _HEADER, **{k: v for k, v in translations.items() if v}}.items(), key=lambda e: e[0].encode()
    )
    texts = [[text.encode() for text in column] for column in zip(*entries, strict=True)]
    begin = 28 + 16 * len(entries)
    tables = b""
    for column in texts:
        for text in column:
            tables += struct.pack("<II", len(text), begin)
            begin += len(text) + 1
    header = struct.pack(
        "<7I", 0x950412DE, 0, len(entries), 28, 28 + 8 * len(entries), 0, 28 + 16 * len(entries)
    )
    return header + tables + b"".join(text + b"\0" for column in texts for text in column)


def main() -> int:
    messages = extracted()
    translations = read_po(PO.read_text(encoding="utf-8")) if PO.exists() else {}
    kept = {english: translations.get(english, "") for english in messages}
    PO.write_text(written_po(messages, kept), encoding="utf-8")
    MO.write_bytes(compiled(kept))
    open_ones = sorted(english for english, words in kept.items() if not words)
    for english in open_ones:
        print(f"no translation: {english}")
    dropped = len(translations.keys() - messages.keys())
    print(f"{len(kept) - len(open_ones)} of {len(kept)} messages are translated, {dropped} dropped")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())
