"""Weights that cost more than they hold or stand for more than they are, damage, and code that is only read."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tests.checkpoint import forge
from tests.hostile.attempt import Case
from tests.hostile.small import write_llama

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

REFUSED, BAD = frozenset({2}), frozenset({1})
Parts = dict[str, tuple[str, tuple[int, ...]]]
_BYTES = {"U8": 1, "I8": 1, "F8_E4M3": 1, "F16": 2, "BF16": 2, "F32": 4, "I32": 4}


def save(path: Path, tensors: Parts, *, hole: bool = False) -> None:
    """A safetensors file of zeros, written or as a hole."""
    header, at = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = int(np.prod(shape, dtype=np.int64)) * _BYTES[dtype]
        header[name] = forge.entry(dtype, list(shape), at, at + size)
        at += size
    forge.safetensors(path, header, b"" if hole else bytes(at))
    os.truncate(path, path.stat().st_size + (at if hole else 0))


def names(tensor: bytes, count: int, width: int = 0) -> bytes:
    """A state dict in which one tensor has so many names."""
    made = [b"}(", forge.text("first"), tensor, b"q\1u"]
    for first in range(0, count, 1000):
        keys = (str(n).zfill(width) for n in range(first, min(first + 1000, count)))
        made += [b"(", *(forge.text(key) + b"h\1" for key in keys), b"u"]
    return forge.program(b"".join(made))


def with_header(raw: bytes) -> Callable[[Path], None]:
    return lambda folder: (forge.safetensors(folder / "model.safetensors", raw, b"\0"), None)[1]


def with_tensors(tensors: Parts, *, hole: bool = False) -> Callable[[Path], None]:
    return lambda folder: save(folder / "model.safetensors", tensors, hole=hole)


def with_pickle(
    pickle: Callable[[], bytes], storages: dict[str, bytes] | None = None
) -> Callable[[Path], None]:
    return lambda folder: (forge.torch_zip(folder / "pytorch_model.bin", pickle(), storages), None)[1]


def metadata(keys: int) -> bytes:
    notes = {str(n): "" for n in range(keys)}
    return json.dumps({"__metadata__": notes, "t": forge.entry("U8", [1], 0, 1)}).encode()


def links(folder: Path) -> None:
    forge.safetensors(folder / "a.safetensors", metadata(90_000), b"\0")
    for n in range(40):
        (folder / f"{n}.safetensors").symlink_to("a.safetensors")
    index = {f"t{n}": f"{n}.safetensors" for n in range(40)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def many_shards(folder: Path) -> None:
    places = {f"t{n}": f"{n}.safetensors" for n in range(500)}
    for name, file in places.items():
        save(folder / file, {name: ("U8", (1,)), f"{name}.more": ("U8", (1,))})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def ghosts(folder: Path) -> None:
    save(folder / "a.safetensors", {"t": ("U8", (1,))})
    index = {f"model.layers.{n}": "a.safetensors" for n in range(600_000)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def empty_extras(folder: Path) -> None:
    """A zip whose directory has 60 kB of empty extra fields for each of 800 entries."""
    pickle, raw, directory = forge.program(forge.dictionary({"w": forge.tensor()})), b"", b""
    extra = b"\x99\0\0\0" * 15_000
    entries = [(b"a/data.pkl", pickle), (b"a/data/0", bytes(16)), *((b"a/%d" % n, b"") for n in range(800))]
    for name, data in entries:
        size, at = len(data), len(raw)
        own = extra + struct.pack("<HHQQQ", 1, 24, size, size, at)
        directory += struct.pack("<4s6H", b"PK\1\2", 45, 45, 0, 0, 0, 0)
        directory += struct.pack("<3I3H", 0, 2**32 - 1, 2**32 - 1, len(name), len(own), 0)
        directory += struct.pack("<2H2I", 0, 0, 0, 2**32 - 1) + name + own
        raw += struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, size, size, len(name), 0) + name + data
    count = len(entries)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), len(raw), 0)
    (folder / "pytorch_model.bin").write_bytes(raw + directory + end)


def expanded() -> bytes:
    """2 kB that stand for 200 GiB."""
    return forge.program(
        forge.dictionary({f"model.{n}.weight": forge.tensor((1 << 14, 1 << 14), (0, 0)) for n in range(200)})
    )


def beside(name: str, text: str, files: int = 1) -> Callable[[Path], None]:
    """A sound model with files beside it."""

    def make(folder: Path) -> None:
        write_llama(folder)
        for n in range(files):
            (folder / name.format(n)).write_text(text, encoding="utf-8")

    return make


def spoiled(value: float) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        weight = np.random.default_rng(0).normal(0, 1, (64, 64)).astype(np.float32)
        weight[3, 4] = value
        header = {"a.weight": forge.entry("F32", [64, 64], 0, weight.nbytes)}
        forge.safetensors(folder / "model.safetensors", header, weight.tobytes())

    return make


def packed(**parts: tuple[str, tuple[int, ...]]) -> Callable[[Path], None]:
    module = {f"model.layers.0.self_attn.q_proj.{part}": what for part, what in parts.items()}
    return with_tensors({**module, "model.norm.weight": ("F16", (64,))})


def case(
    name: str, make: Callable[[Path], None], command: str, exits: frozenset[int] | None = None, says: str = ""
) -> Case:
    """The command meets the folder `model`; convert writes to `out`."""

    def made(folder: Path) -> Sequence[str]:
        (folder / "model").mkdir()
        make(folder / "model")
        verb, *options = command.split()
        more = {"convert": ["out"], "diff": ["model"]}.get(verb, [])
        return [verb, *options, "model", *more]

    answers = frozenset({0, 1, 2}) if exits is None else exits
    return Case(name, made, exits=answers, says=says, writes=("out",) if 0 in answers else ())


_TENSOR = forge.tensor
_NAMES = {
    "640k": lambda: names(_TENSOR(), 640_000),
    "46k": lambda: names(_TENSOR(), 46_000),
    "46k-32-axes": lambda: names(_TENSOR((1,) * 32, (1,) * 32), 46_000),
    "15k-long": lambda: names(_TENSOR(), 15_000, 4_000),
}
_LONG = "k" * 60_000
_CODE = {
    "fstring": 'class Ternary: pass\nx = f"' + "{a}" * 160_000 + '"',
    "hex": "class Ternary: pass\ngroup_size = 0x" + "f" * 20_000,
    "integers": "class Ternary: pass\nx = [" + ("9" * 4290 + ",") * 110 + "]",
    "dictionaries": "class Ternary: pass\n" + "[{}]*" * 100_000 + "1",
    "deep": "class Ternary: pass\n" + "{1:" * 150_000,
    "names": "class Ternary: pass\n" + "a " * 250_000,
}
_ROW = "model.layers.0.mlp.up_proj.weight"
_SHAPES: dict[str, Callable[[Path], None]] = {
    "gptq-empty-order": packed(
        qweight=("I32", (8, 64)), scales=("F16", (1, 64)), qzeros=("I32", (1, 8)), g_idx=("I32", (0,))
    ),
    "gptq-scalar-order": packed(
        qweight=("I32", (8, 64)), scales=("F16", (1, 64)), qzeros=("I32", (1, 8)), g_idx=("I32", ())
    ),
    "gptq-no-bits": packed(qweight=("I32", (1, 640)), scales=("F16", (1, 640)), qzeros=("I32", (1, 1))),
    "gptq-nothing": packed(qweight=("I32", (0, 64)), scales=("F16", (0, 64)), qzeros=("I32", (0, 8))),
    "fp8-scalar": packed(weight=("F8_E4M3", ()), weight_scale_inv=("F32", (1, 1))),
    "fp8-empty-scale": packed(weight=("F8_E4M3", (64, 64)), weight_scale_inv=("F32", (0, 0))),
    "words-scalar": packed(weight_packed=("I32", ()), weight_scale=("F16", ())),
    "words-empty": packed(weight_packed=("I32", (64, 0)), weight_scale=("F16", (64, 0))),
    "codes-scalar": packed(weight=("I8", ()), weight_scale=("F16", ())),
    "bytes-scalar": packed(weight=("I8", ()), SCB=("F32", ())),
}

CASES = (
    case(
        "header.tensors-400k",
        with_tensors({f"t{n}": ("F32", (0,)) for n in range(400_000)}),
        "inspect",
        REFUSED,
    ),
    # As many tensors as a file may have: 30 us for each, beside the start.
    replace(
        case(
            "header.tensors-99k", with_tensors({f"l.{n}.w": ("U8", (1, 1)) for n in range(99_000)}), "inspect"
        ),
        cpu=4,
    ),
    case("header.notes-1m", with_header(metadata(1_000_000)), "inspect", REFUSED),
    case("header.notes-400k", with_header(metadata(400_000)), "inspect", REFUSED),
    case(
        "header.astral-39mb",
        with_header(metadata(1).replace(b'""', b'"' + b"x" * 39_000_000 + "\U0001f600".encode() + b'"')),
        "inspect",
    ),
    case("index.links", links, "inspect", REFUSED, "same file"),
    case("index.many-shards", many_shards, "inspect", says="more shards"),
    case("index.ghosts-600k", ghosts, "inspect", REFUSED),
    *(case(f"pickle.names-{name}", with_pickle(make), "inspect") for name, make in _NAMES.items()),
    case(
        "pickle.long-key",
        with_pickle(lambda: names(forge.tensor(source=forge.storage(_LONG)), 46_000), {_LONG: bytes(16)}),
        "inspect",
    ),
    case("zip.empty-extras", empty_extras, "inspect", REFUSED, "extra fields"),
    case("expanded.inspect", with_pickle(expanded), "inspect", frozenset({0}), "expanded"),
    case("expanded.values", with_pickle(expanded), "inspect --values", REFUSED, "stand for"),
    case("expanded.convert", with_pickle(expanded), "convert", REFUSED, "stand for"),
    case("expanded.diff", with_pickle(expanded), "diff", REFUSED, "stand for"),
    case(
        "row.4gb",
        with_tensors({_ROW: ("F32", (1, 1 << 30))}, hole=True),
        "inspect --values",
        REFUSED,
        "holes",
    ),
    case("row.1tb", with_tensors({_ROW: ("F32", (1, 1 << 38))}, hole=True), "inspect --values=sample"),
    *(
        case(f"code.{name}", beside("modeling_{}.py", text, 4), "inspect --values")
        for name, text in _CODE.items()
    ),
    case(
        "code.1000-files",
        beside("modeling_{}.py", "class Ternary: a=1\n" + "a=1;" * 2_000, 1000),
        "inspect --values",
    ),
    case(
        "card.one-line",
        beside("README.md", "ternary weights " + "group size of 128 " * 28_000),
        "inspect --values",
    ),
    *(
        case(f"packed.{name}.{command}", make, command)
        for name, make in _SHAPES.items()
        for command in ("inspect", "infer-config")
    ),
    case("damage.nan.inspect", spoiled(float("nan")), "inspect --values", BAD, "1 NaN"),
    case("damage.infinity.inspect", spoiled(float("inf")), "inspect --values", BAD, "1 infinite"),
    case("damage.nan.convert", spoiled(float("nan")), "convert", REFUSED, "--allow-damage"),
    case("damage.infinity.convert", spoiled(float("-inf")), "convert", REFUSED, "--allow-damage"),
    case("damage.nan.allowed", spoiled(float("nan")), "convert --allow-damage", frozenset({0})),
    case("damage.overflow.convert", spoiled(1e6), "convert --dtype float16", REFUSED, "too large"),
)
