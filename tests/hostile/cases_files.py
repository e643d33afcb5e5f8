"""What lies beside weights and is no file, or leads elsewhere; what is written to, copied, trusted or resumed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.hostile.attempt import Case
from tests.hostile.small import write_llama
from weightsmith.convert.finish.leftovers import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_FAILED = frozenset({2})
_GOOD = frozenset({0})


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # a socket's path may have 107 bytes
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def _zeros(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:  # devices are root's
        path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _nowhere(path: Path) -> None:
    path.symlink_to("no-such-file")


def _holes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _secret(path: Path) -> None:
    """A link to what the program's user may read and nobody else."""
    secret = path.parent.parent / "secret.json"
    secret.write_text('{"token": "SECRET", "model_type": "llama"}')
    path.symlink_to(secret)


NO_FILES: dict[str, Callable[[Path], None]] = {
    "fifo": _fifo,
    "socket": _socket,
    "zeros": _zeros,
    "folder": lambda path: path.mkdir(),
    "loop": _loop,
    "nowhere": _nowhere,
    "holes": _holes,
    "link out": _secret,
}
_BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
    "README.md",
    "modeling_ternary.py",
    "quant_model_description.json",
)
_COMMANDS: dict[str, Sequence[str]] = {
    "infer-config": ("infer-config", "model"),
    "inspect": ("inspect", "--values", "model"),
    "convert": ("convert", "model", "out"),
    "fits": ("fits", "model"),
}


# A result without it would be one about something else.
_DECIDING = ("config.json", "quant_model_description.json")
# Which commands look at it; those that are not here are looked at by all.
_READ_BY = {
    "generation_config.json": ("infer-config", "convert"),
    "tokenizer_config.json": ("infer-config", "convert"),
    "tokenizer.json": ("infer-config", "convert"),
    "README.md": ("inspect", "convert"),
    "modeling_ternary.py": ("inspect", "convert"),
    "quant_model_description.json": ("fits",),
}


def _with(put: Callable[[Path], None], name: str, words: Sequence[str], folder: Path) -> list[str]:
    """A sound model in which `name` is something else."""
    model = write_llama(folder / "model")
    (model / name).unlink(missing_ok=True)
    put(model / name)
    return list(words)


def _beside() -> Iterator[Case]:
    for name in _BESIDE:
        for kind, put in NO_FILES.items():
            for command, words in _COMMANDS.items():
                if command not in _READ_BY.get(name, _COMMANDS):
                    continue
                decides = name in _DECIDING and command != "inspect"
                yield Case(
                    f"side.{name} {kind} {command}",
                    partial(_with, put, name, words),
                    exits=_FAILED if decides else frozenset({0, 1, 2}),
                    says=re.escape(name) if decides else "",
                    writes=("out",),
                )


def _named(option: str) -> Iterator[Case]:
    """A file that the user names, and that is none."""
    for kind, put in NO_FILES.items():
        if kind == "link out":
            continue

        def make(folder: Path, put: Callable[[Path], None] = put) -> list[str]:
            write_llama(folder / "model")
            put(folder / "named")
            command = "infer-config" if option == "--config" else "verify-on-npu"
            return [command, "model", option, "named"]

        yield Case(f"named.{option} {kind}", make, exits=_FAILED, says="named")


def _manifest(text: Callable[[dict[str, object]], str]) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        model = write_llama(folder / "model")
        size = (model / "model.safetensors").stat().st_size
        row = {"file": "model.safetensors", "bytes": size, "hash": "00"}
        (model / "weightsmith.json").write_text(text({"hash": "blake3", "output": [row]}))
        return ["inspect", "--hashes", "model"]

    return make


_ROW = {"file": "x", "bytes": 1 << 30, "hash": "00"}
_MANIFESTS: dict[str, Callable[[dict[str, object]], str]] = {
    "a name of 100,000 characters": lambda doc: json.dumps(
        {**doc, "output": [{**_ROW, "file": "a" * 100_000}]}
    ),
    "one file 400 times": lambda doc: json.dumps({**doc, "output": [_ROW] * 400}),
    "half a pair": lambda doc: json.dumps({**doc, "output": [{**_ROW, "file": "\ud800"}]}),
    "a path outside": lambda doc: json.dumps({**doc, "output": [{**_ROW, "file": "\\x2f..\\x2fx"}]}),
    "deep": lambda doc: '{"a":' * 100_000,
}


def _extra(name: str, folder: Path) -> list[str]:
    """`weightsmith` here is the program: the model is converted, and a file comes later."""
    write_llama(folder / "model")
    return [
        "weightsmith convert model out --json >/dev/null 2>&1; "
        f"cp model/model.safetensors 'out/{name}'; weightsmith inspect --hashes out"
    ]


def _alone(folder: Path) -> list[str]:
    """Weights in somebody's home: what lies there is nobody's business."""
    model = write_llama(folder / "model")
    (model / "tokenizer.json").write_text("{}")
    for name in (
        "id_rsa",
        ".env",
        "server.key",
        "credentials.json",
        "letter.txt",
        "passwords.csv",
        "tool.py",
    ):
        (model / name).write_text("SECRET")
    return [
        "weightsmith convert model/model.safetensors out && test -e out/tokenizer.json && ! grep -rq SECRET out"
    ]


def _linked(folder: Path) -> list[str]:
    model = write_llama(folder / "model")
    for name in ("tokenizer.json", "special_tokens_map.json", "LICENSE"):
        _secret(model / name)
    return ["weightsmith convert model out && ! grep -rq SECRET out"]


def _output(put: Callable[[Path], None], folder: Path) -> list[str]:
    write_llama(folder / "model")
    put(folder / "there")
    return ["infer-config", "model", "--output", "there"]


def _null(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        path.symlink_to("/dev/null")


def _full(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        path.symlink_to("/dev/full")


def _planted(folder: Path) -> list[str]:
    """What an archive could bring: a staging folder with a journal, and a shard of other data."""
    write_llama(folder / "model")
    staging = folder / ".out.weightsmith-0badcafe"
    staging.mkdir(mode=0o700)
    shutil.copy(folder / "model" / "model.safetensors", staging)
    (staging / MARKER).write_text('{"work": "00"}\n{"file": "model.safetensors", "bytes": 1, "hash": "00"}\n')
    return ["convert", "model", "out", "--resume"]


def _journal(text: bytes, folder: Path) -> list[str]:
    words = _planted(folder)
    (folder / ".out.weightsmith-0badcafe" / MARKER).write_bytes(text)
    return words


def _words(*words: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        write_llama(folder / "model")
        return list(words)

    return make


def _many(folder: Path) -> list[str]:
    model = write_llama(folder / "model")
    for number in range(50_000):
        os.close(os.open(model / f"{number}.txt", os.O_CREAT | os.O_WRONLY))
    return ["weightsmith convert model out --dry-run >/dev/null"]


def _names(folder: Path) -> list[str]:
    model = os.fsencode(write_llama(folder / "model"))
    for name in (
        b"CONFIG.JSON",
        b"a\nb.txt",
        b"a\x1b[31m.txt",
        "\u202ea.txt".encode(),
        b"\xd5\xd5.txt",
        b"a\\b.txt",
    ):
        os.close(os.open(os.path.join(model, name), os.O_CREAT | os.O_WRONLY))  # noqa: PTH118 - bytes
    return ["weightsmith convert model out && weightsmith inspect --hashes out"]


def _prompts(text: bytes) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        write_llama(folder / "model")
        (folder / "prompts").write_bytes(text)
        return ["verify-on-npu", "model", "--prompts", "prompts"]

    return make


_PROMPTS = {
    "deep": b'{"prompt": ' + b"[" * 100_000,
    "escapes": b'{"prompt": "x", "\\u001b[31m": 1}',
    "10,000 keys": json.dumps({"prompt": "x", **{str(n): 1 for n in range(10_000)}}).encode(),
    "a million": b'{"prompt": "x"}\n' * 1_000_000,
    "no text": b"\0" * 1_000_000,
    "half a pair": b'{"prompt": "\\ud800"}',
}

# Several runs of the program in one line of the shell, which write a model.
_OUT: Any = {"shell": True, "writes": ("out",), "cpu": 4.0}
_PLANTED = ("out", ".out.weightsmith-0badcafe")
_GONE = "mkdir gone && cd gone && rmdir ../gone && weightsmith convert ../model out"
_JOURNALS = {"deep": b"[" * 5_000_000 + b"\n", "many lines": b"{}\n" * 5_000_000, "no text": b"\xff\0" * 1000}

CASES = (
    *_beside(),
    *_named("--config"),
    *_named("--prompts"),
    *_named("--reference"),
    *(Case(f"manifest.{name}", _manifest(text), exits=_FAILED) for name, text in _MANIFESTS.items()),
    Case(
        "manifest.more weights",
        partial(_extra, "other.safetensors"),
        exits=frozenset({1}),
        **_OUT,
    ),
    Case(
        "manifest.code",
        partial(_extra, "modeling_x.py"),
        exits=frozenset({1}),
        **_OUT,
    ),
    Case("manifest.a note", partial(_extra, "notes.txt"), exits=_GOOD, **_OUT),
    Case("copy.weights named alone", _alone, exits=_GOOD, **_OUT),
    Case("copy.links out", _linked, exits=_GOOD, says="leads out", **_OUT),
    Case("copy.names", _names, exits=_GOOD, **_OUT),
    Case("copy.50,000 files", _many, exits=_GOOD, shell=True),
    Case("output.a device", partial(_output, _null), exits=_GOOD),
    Case("output.a full device", partial(_output, _full), exits=_FAILED, says="no space"),
    Case("output.a pipe that nobody reads", partial(_output, _fifo), exits=_FAILED, says="nobody reads"),
    Case("output.a socket", partial(_output, _socket), exits=_FAILED),
    Case("output.a folder", partial(_output, lambda path: path.mkdir()), exits=_FAILED),
    Case("output.a loop", partial(_output, _loop), exits=_FAILED),
    Case("output.stdout", _words("infer-config", "model", "--output", "-"), exits=_GOOD, says="hidden_size"),
    Case("output./proc", _words("infer-config", "model", "--output", "/proc/x"), exits=_FAILED),
    Case("output.a long name", _words("infer-config", "model", "--output", "a" * 5000), exits=_FAILED),
    Case("target./proc", _words("convert", "model", "/proc/x"), exits=_FAILED, says="/proc/x"),
    Case("target.a long name", _words("convert", "model", "a" * 5000), exits=_FAILED),
    Case("target.nowhere", _words(_GONE), exits=_FAILED, shell=True),
    Case(
        "target.report",
        _words("verify-on-npu", "model", "--report", "/proc/x"),
        exits=_FAILED,
        says="/proc/x",
    ),
    *(
        Case(
            f"shards.{size[:12]} {len(size)}",
            _words("convert", "model", "out", "--max-shard-size", size),
            exits=_FAILED,
        )
        for size in ("1B", "1", "inf", "1e999", "9" * 400, "9" * 400 + "GB", "0.0001KB", "2000000TB")
    ),
    Case("resume.planted", _planted, exits=_GOOD, writes=_PLANTED),
    *(
        Case(
            f"resume.journal {name}",
            partial(_journal, text),
            exits=_GOOD,
            writes=_PLANTED,
        )
        for name, text in _JOURNALS.items()
    ),
    *(
        Case(f"prompts.{name}", _prompts(text), exits=_FAILED, says="prompts")
        for name, text in _PROMPTS.items()
    ),
)
