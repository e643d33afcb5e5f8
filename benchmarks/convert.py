"""`make bench-convert`: whole processes on checkpoints of full size, beside peers on the same bytes and file system.

The peer of a conversion is `cp` and `sync` of the target: the same durability, without our hashes of both sides.
The others are what one does without weightsmith: torch.load and save_file, and the quantizer's formula on whole
tensors in between; and for FP8 the converters of msmodelslim and compressed-tensors. Everything is measured in
interleaved rounds, from a warm cache, and the median is shown. Processor time is shown as well, because it depends
least on how busy the machine is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from benchmarks.full_size import GROUP_SIZE, write_fp8, write_latent, write_sharded
from benchmarks.processes import measure
from benchmarks.schemes.__main__ import command, installed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from benchmarks.processes import Figure

PEER = "cp + sync"
DEQUANT = "weightsmith dequant"
READ = "cat to /dev/null"
COPY = 'cp -r "$1" "$2"/copy && sync "$2"/copy/*'
SAVE = """
import os, sys, torch
from safetensors.torch import save_file
state = torch.load(sys.argv[1] + "/pytorch_model.bin", weights_only=True)
{change}
save_file(state, sys.argv[2] + "/model.safetensors", metadata={{"format": "pt"}})
{sync}
"""
FUSE = f"""
for name, weight in state.items():
    if weight.dim() == 2 and not name.startswith(("lm_head", "model.embed_tokens")):
        groups = weight.float().reshape(weight.shape[0], -1, {GROUP_SIZE})
        scale = groups.abs().mean(dim=-1, keepdim=True).clamp(min=1e-5)
        fused = (groups / scale).round().clamp(-1, 1) * scale
        state[name] = fused.reshape(weight.shape).to(weight.dtype)
"""
INTERPRETER = "python -c pass"
WEIGHTSMITH = [sys.executable, "-m", "weightsmith.cli"]

Commands = dict[str, list[str]]


def copying(source: Path, out: Path) -> Commands:
    return {PEER: ["/bin/sh", "-c", COPY, "sh", str(source), str(out)]}


def converting(source: Path, out: Path, *options: str, label: str = "") -> Commands:
    base = [*WEIGHTSMITH, "convert", str(source), str(out / "model"), *options, "--converter"]
    return {f"weightsmith {name}{label}": [*base, name] for name in ("plain", "ternary")}


def by_torch(source: Path, out: Path) -> Commands:
    """Syncing is left out with the formula: so it is compared with a conversion that syncs."""
    saved, fused = SAVE.format(change="", sync="os.sync()"), SAVE.format(change=FUSE, sync="")
    return {
        "torch.load + save_file + sync": [sys.executable, "-c", saved, str(source), str(out)],
        "eager torch fuse + save_file, not synced": [sys.executable, "-c", fused, str(source), str(out)],
    }


def inspecting(source: Path) -> Commands:
    inspect = [*WEIGHTSMITH, "inspect", str(source)]
    return {
        READ: ["/bin/sh", "-c", 'cat "$1"/* > /dev/null', "sh", str(source)],
        "inspect --values": [*inspect, "--values"],
        "inspect --values=sample": [*inspect, "--values=sample"],
    }


def table(figures: Mapping[str, Figure], peer: str, gigabytes: float) -> str:
    least = figures[INTERPRETER].megabytes if INTERPRETER in figures else 0.0
    against = figures[peer]
    rows = [
        (
            label,
            f"{f.seconds:.2f}",
            f"{f.seconds / against.seconds:.2f} x",
            f"{gigabytes / f.seconds:.2f}",
            f"{f.cpu:.2f}",
            f"{gigabytes / f.cpu:.2f}",
            f"{f.megabytes - least:.0f}",
        )
        for label, f in figures.items()
        if label != INTERPRETER
    ]
    headers = ["whole process", "seconds", f"of {peer}", "GB/s", "cpu s", "GB per cpu s", "MB above python"]
    return tabulate(rows, headers=headers, disable_numparse=True)


def size_of(folder: Path) -> float:
    """GB of the files in it."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e9


def report(
    title: str,
    source: Path,
    out: Path,
    commands: Commands,
    peer: str,
    rounds: int,
    may_fail: Collection[str] = (),
) -> None:
    """Measures and prints one table. Each command finds `out` empty. may_fail: those of others."""

    def clear() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    clear()
    commands = {INTERPRETER: [sys.executable, "-c", "pass"], **commands}
    figures = measure(commands, rounds, before=clear, may_fail=may_fail)
    shutil.rmtree(out)
    load = os.getloadavg()[0]
    print(
        f"\n{title}: {size_of(source):.2f} GB, medians of {rounds} interleaved rounds, load average {load:.1f}"
    )
    print(table(figures, peer, size_of(source)), flush=True)


def one_file(folder: Path, rounds: int) -> None:
    source, out = write_latent(folder / "latent"), folder / "out"
    commands = {
        **copying(source, out),
        **converting(source, out),
        **converting(source, out, "--workers", "1", label=", one worker"),
    }
    report("BitCPM4-CANN-1B shape, one pytorch_model.bin", source, out, commands, PEER, rounds)
    report("its values, latent", source, out, inspecting(source), READ, rounds)
    fused = folder / "fused"
    fused.mkdir()
    subprocess.run(converting(source, fused)["weightsmith ternary"], check=True, capture_output=True)
    shutil.rmtree(source)
    report("its values, fused", fused / "model", out, inspecting(fused / "model"), READ, rounds)
    shutil.rmtree(fused)


def torch_routes(folder: Path, rounds: int) -> None:
    source, out = write_latent(folder / "latent"), folder / "out"
    commands = {**copying(source, out), **converting(source, out), **by_torch(source, out)}
    report("the same, beside torch", source, out, commands, PEER, rounds)
    shutil.rmtree(source)


def stages(folder: Path, rounds: int) -> None:
    """One run each: where the processor time goes. rounds: not used."""
    source = write_latent(folder / "latent")
    for converter in ("plain", "ternary"):
        print(flush=True)
        subprocess.run([sys.executable, "-m", "benchmarks.stages", str(source), converter], check=True)
    shutil.rmtree(source)


def sharded(folder: Path, rounds: int) -> None:
    source, out = write_sharded(folder / "shards", 14, 2 * 10**9), folder / "out"
    commands = {**copying(source, out), **converting(source, out)}
    report("Llama 3.1 8B with 14 of its layers, shards of 2 GB", source, out, commands, PEER, rounds)
    shutil.rmtree(source)


def converters(folder: Path, rounds: int) -> None:
    """The one work that all of them have a program for, from file to file."""
    source, out, beside = write_fp8(folder / "fp8"), folder / "out", Path(sys.prefix) / "peers"
    ours = [*WEIGHTSMITH, "convert", str(source), str(out / "model"), "--converter", "dequant"]
    commands = {DEQUANT: ours, **copying(source, out)}
    others = [peer for peer in ("compressed-tensors fp8", "msmodelslim convert") if installed(peer, beside)]
    commands |= {peer: command(peer, source, out / "model", beside) for peer in others}
    title = "BitCPM4-CANN-1B shape in FP8 to bf16"
    report(title, source, out, commands, DEQUANT, rounds, others)
    shutil.rmtree(source)


def sparse(folder: Path, rounds: int) -> None:
    source, out = write_sharded(folder / "sparse", 32, 5 * 10**9, data=False), folder / "out"
    commands = {**copying(source, out), **converting(source, out)}
    commands[PEER][2] = COPY.replace("cp -r", "cp -r --sparse=never")
    report("Llama 3.1 8B, sparse shards of 5 GB", source, out, commands, PEER, rounds)
    shutil.rmtree(source)


PARTS = {
    "one": one_file,
    "stages": stages,
    "torch": torch_routes,
    "converters": converters,
    "sharded": sharded,
    "sparse": sparse,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="convert and inspect, beside cp, cat and the torch routes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="where to write (33 GB); default: the system's temporary folder"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help=f"which tables; default: {','.join(PARTS)}")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        for part in asked.parts.split(","):
            PARTS[part](Path(name), 1 if part == "sparse" else asked.rounds)
    print(
        "\ngoals: plain at most 1.2 x cp + sync and 3 times faster than torch.load + save_file; ternary at most 1.5 x"
        "\nand 10 times faster than the formula; inspect --values 2 GB/s, a sample 0.5 s; 300 MB above the interpreter"
    )


if __name__ == "__main__":
    main()
