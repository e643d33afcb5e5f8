"""How the program begins, ends and shows: text that would act on a terminal, streams that fail, far too long words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.hostile.attempt import Case
from tests.hostile.small import CONFIG, write_llama

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

# A character of every kind that acts or misleads: C0, DEL, C1, directional marks, separators.
ACTING = "\x1b]0;x\x07\x1b[2J\r\b\x7f\x9b31m\u202e\u2066\u200f\u061c\u2028\u2029"
# In a file's name a byte that is no UTF-8 may stand as well, and no slash.
NAME = f"a{ACTING}\n\udcffz"
LONG = "q" * 60_000


def _config(**changed: object) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        write_llama(folder / "model", {**CONFIG, **changed})

    return make


def _file(name: str, content: bytes = b"x") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (write_llama(folder / "model") / name).write_bytes(content)

    return make


def _weights(folder: Path) -> None:
    model = write_llama(folder / "model")
    (model / "model.safetensors").rename(model / f"{NAME}.safetensors")


def _two_weights(folder: Path) -> None:
    _weights(folder)
    (folder / "model" / f"{NAME}.bin").write_bytes(b"x")


def _tensor(folder: Path) -> None:
    from tests.checkpoint.headers import write_headers_only

    (folder / "model").mkdir()
    name = "".join(c for c in ACTING if c >= "\u2000")
    write_headers_only(folder / "model", {f"model.{name}.weight": (3, 5)})


def _renamed(folder: Path) -> None:
    write_llama(folder / "sound").rename(folder / "model")
    (folder / "model").rename(folder / NAME)


def _index(folder: Path) -> None:
    model = write_llama(folder / "model")
    (model / "model.safetensors").unlink()
    index = {"weight_map": {"a.weight": f"{ACTING}.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _prompts(folder: Path) -> None:
    write_llama(folder / "model")
    (folder / "prompts").write_text(json.dumps({ACTING: ACTING}), encoding="utf-8")


_COMMANDS: Mapping[str, list[str]] = {
    "infer": ["infer-config", "model"],
    "json": ["infer-config", "model", "--json"],
    "inspect": ["inspect", "--values", "model"],
    "convert": ["convert", "model", "out"],
}


def _texts(kind: str, text: str) -> Iterator[tuple[str, Callable[[Path], None]]]:
    yield f"{kind}.model_type", _config(model_type=text)
    yield f"{kind}.architecture", _config(architectures=[text])
    yield f"{kind}.value", _config(hidden_act=text, dtype=text, torch_dtype=text)
    yield f"{kind}.key", _config(**{text: 1, f"{text}2": {text: text}})
    yield f"{kind}.quantization", _config(quantization_config={"quant_method": text, "bits": 4})
    yield f"{kind}.auto_map", _config(auto_map={"AutoConfig": f"{text}.C"}, model_type=text)
    yield f"{kind}.rope", _config(rope_scaling={"rope_type": text, "type": text, text: text})


def _inputs() -> Iterator[tuple[str, Callable[[Path], None]]]:
    yield from _texts("text", ACTING)
    yield "text.tensor", _tensor
    yield "text.weights_file", _weights
    yield "text.two_weights_files", _two_weights
    yield "text.index", _index
    yield "text.side_file", _file(f"{NAME}.txt")
    yield "text.code", _file(f"{NAME}.py", f"x = '{ACTING}'\n".encode())
    yield "text.broken_tokenizer", _file("tokenizer_config.json", json.dumps({"eos_token": ACTING}).encode())
    yield "text.card", _file("README.md", f"---\nbase_model: {ACTING}\n---\nfused {ACTING}\n".encode())
    yield from _texts("long", LONG)


def _met(make: Callable[[Path], None], words: list[str]) -> Callable[[Path], list[str]]:
    def case(folder: Path) -> list[str]:
        make(folder)
        return words

    return case


def _meetings() -> Iterator[Case]:
    for name, make in _inputs():
        for command, words in _COMMANDS.items():
            if command in ("infer", "convert") or name.startswith("text."):
                yield Case(f"{name}.{command}", _met(make, words), writes=("out",))
    for command in ("infer-config", "inspect"):
        yield Case(f"text.folder.{command}", _met(_renamed, [command, NAME]))
        yield Case(f"text.folder_json.{command}", _met(_renamed, [command, NAME, "--json"]))
    yield Case("text.folder.convert", _met(_renamed, ["convert", NAME, "out"]), writes=("out",))
    yield Case(
        "text.prompts", _met(_prompts, ["verify-on-npu", "model", "--device", "cpu", "--prompts", "prompts"])
    )


def _arguments() -> Iterator[Case]:
    for kind, text in (("text", f"a{ACTING}\n"), ("long", LONG)):
        commands = (
            ["inspect", text],
            ["inspect", text, "--json"],
            ["infer-config", "model", "--set", text],
            ["infer-config", "model", "--set", f"{text}={text}"],
            ["infer-config", "model", "--model-type", text],
            ["infer-config", "model", f"--{text}"],
            ["convert", "model", "out", "--converter", text],
            ["convert", "model", "out", "--set", f"{text}=1"],
            ["convert", "model", "out", "--dtype", text],
            ["convert", "model", "out", "--max-shard-size", text],
            ["convert", "model", text],
            ["diff", "model", text],
            ["verify-on-npu", "model", "--gate", f"{text}=1"],
            ["verify-on-npu", "model", "--device", text],
            ["verify-on-npu", "model", "--device", "cpu", "--reference", text],
            ["verify-on-npu", "model", "--device", "cpu", "--report", f"{text}/x"],
            [text],
        )
        for number, words in enumerate(commands):
            first = words[0] if words[0] != text else "command"
            yield Case(f"{kind}.argument.{number}.{first}", _met(_wrong, words), writes=("out", text))


def _wrong(folder: Path) -> None:
    """A model whose config is wrong: the verdict is 1, which no accident gives."""
    write_llama(folder / "model", {**CONFIG, "intermediate_size": 65})


# Command -> its exit code when nothing is in its way, and whether it prints on stdout.
_VERDICTS = {
    "infer-config model": (1, True),
    "infer-config model --json": (1, True),
    "inspect model": (0, True),
    "diff model model": (0, True),
    "convert model out": (0, True),
    "infer-config absent --json": (2, True),
    "verify-on-npu": (2, False),
    "nothing": (2, False),
    "--help": (0, True),
    "convert --help": (0, True),
    "--version": (0, True),
    "": (2, False),
}
_WAYS = {
    "reader_gone": "{} | true; exit ${{PIPESTATUS[0]}}",
    "unbuffered": "PYTHONUNBUFFERED=1 {} | true; exit ${{PIPESTATUS[0]}}",
    "closed": "{} >&-",
    "all_closed": "{} <&- >&- 2>&-",
    "stderr_gone": "{} 2>&1 >out.txt | true; exit ${{PIPESTATUS[0]}}",
    "stderr_full": "{} 2>/dev/full",
    "full": "{} >/dev/full",
    "full_unbuffered": "PYTHONUNBUFFERED=1 {} >/dev/full",
}


def _streams() -> Iterator[Case]:
    for command, (code, prints) in _VERDICTS.items():
        for way, line in _WAYS.items():
            lost = way.startswith("full") and prints and code != 2
            words = [line.format(f"weightsmith {command}")]
            yield Case(
                f"streams.{way}.{command or 'nothing_named'}",
                _met(_wrong, words),
                exits=frozenset({2 if lost else code}),
                says="stdout: could not be written" if lost else "",
                writes=("out", "out.txt"),
                shell=True,
            )
    for encoding in ("ascii", "gbk", "latin-1", "cp1252"):
        for command, code, says in (("infer-config", 1, "x differs"), ("inspect", 0, "21 tensors")):
            yield Case(
                f"streams.{encoding}.{command}",
                _met(_wrong, [command, "model"]),
                exits=frozenset({code}),
                says=says,
                env={"PYTHONIOENCODING": encoding},
            )


def _little() -> Iterator[Case]:
    """Little memory, a current folder that is gone, and no home."""
    for command in ("infer-config model", "inspect --values model", "convert model out", "diff model model"):
        for megabytes in (150, 240, 400):
            line = f"ulimit -v {megabytes}000; weightsmith {command}"
            name = f"machine.memory_{megabytes}.{command.split()[0]}"
            says = "153 MB of address space" if megabytes == 150 else ""
            yield Case(name, _met(_wrong, [line]), shell=True, says=says, writes=("out",))
    for command in (
        "infer-config model",
        "inspect ../model",
        "convert ../model out",
        'convert "$OLDPWD"/model out',
    ):
        line = f"mkdir gone; cd gone; rmdir ../gone; weightsmith {command}"
        yield Case(f"machine.gone.{command}", _met(_wrong, [line]), shell=True, writes=("out",))
    verify = "verify-on-npu model --device cpu"
    for name, line in (
        *((f"unset {command}", f"unset HOME; weightsmith {command}") for command in ("fits model", verify)),
        ("empty", f"HOME= weightsmith {verify}"),
        ("no folder", f"HOME=/proc/x XDG_CACHE_HOME=/proc/x weightsmith {verify}"),
    ):
        yield Case(f"machine.home {name}", _met(_wrong, [line]), exits=frozenset({1}), shell=True)


_CODE = """
import os, pathlib
pathlib.Path(os.environ["CANARY"]).touch()
from transformers import PretrainedConfig, PreTrainedModel
class C(PretrainedConfig):
    model_type = "stranger"
class M(PreTrainedModel):
    config_class = C
"""


def _pointing(folder: Path, prefix: str, **more: object) -> None:
    """A model whose auto_map names classes by this prefix, and code beside it that must not run."""
    (folder / "other").mkdir()
    (folder / "other" / "code.py").write_text(_CODE, encoding="utf-8")
    auto_map = {"AutoConfig": f"{prefix}code.C", "AutoModelForCausalLM": f"{prefix}code.M"}
    write_llama(folder / "model", {**CONFIG, "model_type": "stranger", "auto_map": auto_map, **more})


def _linked(folder: Path) -> None:
    _pointing(folder, "")
    (folder / "model" / "code.py").symlink_to("../other/code.py")


def _shadowing(folder: Path) -> None:
    """Modules in the current folder that have the names of some that we import."""
    _wrong(folder)
    for name in (
        "json",
        "signal",
        "click",
        "select",
        "codecs",
        "numpy",
        "tabulate",
        "rich",
        "errno",
        "difflib",
        "yaml",
    ):
        (folder / f"{name}.py").write_text(_CODE, encoding="utf-8")


def _code() -> Iterator[Case]:
    trusting = ["model", "--trust-remote-code"]
    inner = {"auto_map": {}, "text_config": {"auto_map": {"AutoConfig": "../other--code.C"}}}
    for name, make in (
        ("repository", lambda folder: _pointing(folder, f"{folder}/other--")),
        ("relative", lambda folder: _pointing(folder, "../other--")),
        ("climbing", lambda folder: _pointing(folder, "../other/")),
        ("absolute", lambda folder: _pointing(folder, f"{folder}/other/")),
        ("inner", lambda folder: _pointing(folder, "", **inner)),
        ("list", lambda folder: _pointing(folder, "", auto_map={"AutoConfig": ["../other--code.C", None]})),
        ("link", _linked),
    ):
        for option in ("--learn", "--check"):
            words = ["infer-config", *trusting, option, "--model-type", "llama"][
                : 6 if option == "--check" else 4
            ]
            says = "do without --trust-remote-code"
            yield Case(f"code.{name}.{option[2:]}", _met(make, words), exits=frozenset({2}), says=says)
    for option in ("--learn", "--check"):  # torch and transformers are imported there
        words = ["infer-config", "model", option]
        make = _met(lambda folder: _pointing(folder, "../other--"), words)
        yield Case(f"code.untrusted.{option[2:]}", make, exits=frozenset({2}), cpu=20, megabytes=1000)
    yield Case("code.shadowed", _met(_shadowing, ["inspect", "--values", "model"]), writes=("__pycache__",))


def _deep() -> Iterator[Case]:
    """JSON on the command line that nests deeper than Python reads it."""
    for name, text in (("list", "[" * 60_000), ("object", '{"a":' * 20_000)):
        words = ["infer-config", "model", "--set", f"hidden_size={text}"]
        yield Case(f"deep.{name}", _met(_wrong, words), exits=frozenset({2}), says="nests too deep")


CASES = (*_meetings(), *_arguments(), *_streams(), *_little(), *_code(), *_deep())
