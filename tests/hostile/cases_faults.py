"""A machine that fails under each command: disks, descriptors, clocks, and files that change while they are read."""

from __future__ import annotations

import errno
import json
import re
from functools import partial
from typing import TYPE_CHECKING

from safetensors.numpy import load_file, save_file

from tests.hostile.attempt import Case
from tests.hostile.faulty import environment, faults_library, lacks_compiler, lacks_mounts, mounted
from tests.hostile.small import CONFIG, write_llama

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_FAILED = frozenset({2})
_DONE = frozenset({0, 1})

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
SIDE_FILES = (
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "README.md",
    "modeling_x.py",
)

# What each command reads beside the weights and may not do without.
_COMMANDS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "infer": (("infer-config", "model"), ("config.json", INDEX)),
    "write": (("infer-config", "model", "--write"), ("config.json", INDEX)),
    "inspect": (("inspect", "--values", "model"), (INDEX,)),
    "hashes": (("inspect", "--hashes", "model"), (INDEX, "weightsmith.json")),
    "diff": (("diff", "model", "other"), (INDEX,)),
    "convert": (("convert", "model", "out"), ("config.json", INDEX, *SIDE_FILES)),
    "output": (("infer-config", "model", "--output", "made.json"), ("config.json",)),
    "fits": (("fits", "model"), ("config.json", INDEX)),
    # No engine is started: the config is wrong.
    "verify": (("verify-on-npu", "model", "--device", "cpu"), ("config.json", INDEX)),
}
_WRITES = ("out", "made.json", "model/config.json", "model/config.json.bak", "model", "model.gone")


def model(folder: Path, words: Sequence[str] = ()) -> list[str]:
    """Two shards and an index, side files of all kinds, a wrong config, a manifest; the same weights in one file."""
    made = write_llama(folder / "model", {**CONFIG, "intermediate_size": 65})
    write_llama(folder / "other")
    tensors = load_file(made / "model.safetensors")
    (made / "model.safetensors").unlink()
    places = {name: SHARDS[number % 2] for number, name in enumerate(sorted(tensors))}
    for shard in SHARDS:
        held = {name: tensors[name] for name, place in places.items() if place == shard}
        save_file(held, made / shard, metadata={"format": "pt"})
    rows = [{"file": shard, "bytes": (made / shard).stat().st_size, "hash": "00"} for shard in SHARDS]
    texts: dict[str, object] = {
        INDEX: {"metadata": {}, "weight_map": places},
        "weightsmith.json": {"hash": "blake3", "output": rows},
        "generation_config.json": {"eos_token_id": 2},
        "tokenizer_config.json": {"eos_token": "</s>"},
        "tokenizer.json": {"added_tokens": [{"id": 2, "content": "</s>"}], "model": {"vocab": {"</s>": 2}}},
    }
    for name, document in texts.items():
        (made / name).write_text(json.dumps(document), encoding="utf-8")
    (made / "README.md").write_text("---\nbase_model: x/y\n---\nfused\n", encoding="utf-8")
    (made / "modeling_x.py").write_text("x = 1\n", encoding="utf-8")
    return list(words)


def _fault(
    name: str,
    words: Sequence[str],
    env: Mapping[str, str],
    exits: frozenset[int] = frozenset({0, 1, 2}),
    says: str = "",
) -> Case:
    return Case(
        f"fault.{name}",
        partial(model, words=words),
        exits=exits,
        says=says,
        writes=_WRITES,
        env=env,
        lacks=lacks_compiler,
    )


def _reading() -> Iterator[Case]:
    """A disk that gives no bytes: of what cannot be done without, and of what can."""
    for command, (words, needed) in _COMMANDS.items():
        for call in ("open", "read", "stat"):
            for file in (SHARDS[1], *needed) if call != "stat" else (SHARDS[1], needed[0]):
                env = environment(call, file, errno.EIO)
                yield _fault(
                    f"{call} EIO {file} {command}", words, env, _FAILED, says=f"error: .*{re.escape(file)}"
                )
        for code in (errno.EACCES, errno.EMFILE, errno.ESTALE):
            env, says = environment("open", SHARDS[0], code), f"error: .*{SHARDS[0]}"
            yield _fault(f"open {errno.errorcode[code]} {command}", words, env, _FAILED, says)
        if command in ("infer", "inspect", "convert"):
            yield _fault(f"list EIO {command}", words, environment("list", "/model", errno.EIO), _FAILED)
    # What was not read could have said that the weights are fused.
    for call in ("open", "read"):
        env, words = environment(call, "README.md", errno.EIO), _COMMANDS["inspect"][0]
        yield _fault(f"{call} EIO README.md inspect", words, env, _FAILED, says=r"error: .*README\.md")
        env, words = environment(call, "/tokenizer.json", errno.EIO), _COMMANDS["infer"][0]
        yield _fault(f"{call} EIO tokenizer.json infer", words, env)


# Exit codes where nothing fails.
_SOUND = {"infer": 1, "write": 0, "inspect": 0, "diff": 0, "convert": 0, "fits": 1, "verify": 1}


def _harmless() -> Iterator[Case]:
    """A disk that gives a byte at a time, and a clock that somebody sets: nothing comes out otherwise."""
    for command, code in _SOUND.items():
        words = _COMMANDS[command][0]
        short = environment("read", "/model/", "short")
        if command in ("infer", "convert"):
            yield _fault(
                f"short reads {command}", words, {**short, "FAULT_PATH": "on.json"}, frozenset({code})
            )
        for jump in (-(10**9), 10**9):
            env = {"LD_PRELOAD": str(faults_library() or ""), "FAULT_CLOCK": str(jump)}
            yield _fault(f"clock {jump} {command}", words, env, frozenset({code}))


def _changing() -> Iterator[Case]:
    """Files that are cut or written to, and a folder that goes, at one of the first reads."""
    for command in ("infer", "inspect", "hashes", "diff", "convert", "fits", "verify"):
        for file in (SHARDS[1], "config.json"):
            for do in ("shrink", "grow", "remove"):
                for skip in (0, 2) if command not in ("fits", "verify") else (0,):
                    env = environment("read", file, do, skip)
                    yield _fault(f"{do} at {skip} {file} {command}", _COMMANDS[command][0], env)


def _writing() -> Iterator[Case]:
    """A disk that takes nothing: nothing half-written is left, and what was there is as it was."""
    for command, call, target in (
        *(("write", call, "/model/") for call in ("write", "sync")),
        *(("output", call, "/input/.") for call in ("write", "sync")),
        *(("convert", call, "/input/.out") for call in ("write", "sync", "space")),
    ):
        for code in (errno.ENOSPC, errno.EIO):
            for skip in (0, 2) if command == "convert" and call != "space" else (0,):
                yield _unwritten(
                    f"{call} {errno.errorcode[code]} at {skip}", command, call, target, code, skip
                )
    for command, name, unfinished in (
        ("write", "config.json", ".part"),
        ("output", "made.json", ".part"),
        ("convert", "out", ".out.weightsmith"),
    ):
        for code in (errno.EIO, errno.EROFS, errno.ENOSPC):
            yield _unwritten(f"rename {errno.errorcode[code]}", command, "rename", name, code)
        for code in (errno.EROFS, errno.EMFILE, errno.ENOSPC):
            yield _unwritten(f"make {errno.errorcode[code]}", command, "open", unfinished, code)


def _unwritten(name: str, command: str, call: str, path: str, code: int, skip: int = 0) -> Case:
    return Case(
        f"fault.{name} {command}",
        partial(model, words=_COMMANDS[command][0]),
        exits=_FAILED,
        # A copy of what is there; it comes before what takes its place.
        writes=("model/config.json.bak",) if command == "write" else (),
        env=environment(call, path, code, skip),
        lacks=lacks_compiler,
    )


_FULL = "head -c 9000000 /dev/zero >disk/fill 2>/dev/null; "
_LINES = {
    "infer": "weightsmith infer-config model",
    "inspect": "weightsmith inspect --values model",
    "diff": "weightsmith diff model other",
    "convert": "weightsmith convert model out",
    "fits": "weightsmith fits model",
    "verify": "weightsmith verify-on-npu model --device cpu",
}
_WAYS = {
    "full": ("size=1m", "cp -r model disk/ && " + _FULL),
    "nearly full": ("size=1m", "cp -r model disk/ && head -c 860000 /dev/zero >disk/fill; "),
    "no names": (
        "size=9m,nr_inodes=14",
        "cp -r model disk/ && for n in {1..14}; do echo >disk/$n; done 2>/dev/null; ",
    ),
    "read-only": ("size=1m", "cp -r model disk/ && mount -o remount,ro disk && "),
}
_ONTO = {
    "convert": "weightsmith convert model disk/out",
    "output": "weightsmith infer-config model --output disk/made.json",
    "write": "weightsmith infer-config disk/model --write",
    "report": "weightsmith verify-on-npu model --device cpu --report disk/made.md",
}


def _disks() -> Iterator[Case]:
    """Real file systems: full ones, such as have no room for another name, and such as may only be read."""
    for way, (options, before) in _WAYS.items():
        for command, line in _ONTO.items():
            if way != "nearly full" or command == "convert":
                left = "; code=$?; ls -A disk | grep -v -e '^fill$' -e '^model$' -e '^[0-9]*$' && exit 9; exit $code"
                yield _disk(f"{way} target {command}", options, f"{before}{line}{left}", _FAILED)
        for command, line in _LINES.items() if way != "nearly full" else ():
            set_to = f"{before}export TMPDIR=$PWD/disk HOME=$PWD/disk; "
            yield _disk(f"{way} TMPDIR and HOME {command}", options, set_to + line, _DONE)


def _disk(name: str, options: str, line: str, exits: frozenset[int]) -> Case:
    make = partial(model, words=[mounted(options, line)])
    return Case(f"disk.{name}", make, exits=exits, shell=True, writes=("out", "disk"), lacks=lacks_mounts)


def _limits() -> Iterator[Case]:
    """Few descriptors, and files that may not grow (SIGXFSZ): what is written, is written whole or not at all."""
    whole = "; code=$?; [ ! -e made.json ] || tail -n1 made.json | grep -q '}$' || exit 9; exit $code"
    lines = {**_LINES, "output": "weightsmith infer-config model --output made.json" + whole}
    for command, line in lines.items():
        for limit in (
            "-n 6",
            "-n 10",
            "-n 16",
            *(("-f 0", "-f 1") if command in ("convert", "output") else ()),
        ):
            make = partial(model, words=[f"ulimit {limit}; {line}"])
            writes = ("made.json", *(("out",) if limit[1] == "n" else ()))
            yield Case(f"limit.{limit} {command}", make, shell=True, writes=writes)


CASES = (*_reading(), *_harmless(), *_changing(), *_writing(), *_disks(), *_limits())
