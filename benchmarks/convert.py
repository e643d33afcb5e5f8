"""`make bench-convert`: the full-size BitCPM4-CANN-1B shape (3.2 GB, one torch file), whole processes, beside peers.

The peer is `cp` and `sync` of the same bytes on the same file system: the same durability, without our hashes
of both sides. The others are what one does without weightsmith: torch.load and save_file, and the quantizer's
formula on whole tensors in between. Processor time is shown as well, because it does not depend on how busy the
machine is.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from benchmarks.full_size import GROUP_SIZE, write_latent
from benchmarks.processes import measure

if TYPE_CHECKING:
    from benchmarks.processes import Figure

PEER = "cp + sync"
COPY = 'cp "$1"/pytorch_model.bin "$2"/ && sync "$2"/pytorch_model.bin'
SAVE = """
import os, sys, torch
from safetensors.torch import save_file
state = torch.load(sys.argv[1] + "/pytorch_model.bin", weights_only=True)
{change}
save_file(state, sys.argv[2] + "/model.safetensors", metadata={{"format": "pt"}})
os.sync()
"""
FUSE = f"""
for name, weight in state.items():
    if weight.dim() == 2 and not name.startswith(("lm_head", "model.embed_tokens")):
        groups = weight.float().reshape(weight.shape[0], -1, {GROUP_SIZE})
        scale = groups.abs().mean(dim=-1, keepdim=True).clamp(min=1e-5)
        fused = (groups / scale).round().clamp(-1, 1) * scale
        state[name] = fused.reshape(weight.shape).to(weight.dtype)
"""


def commands(source: str, out: str, everything: bool) -> dict[str, list[str]]:
    python = sys.executable
    convert = [python, "-m", "weightsmith.cli", "convert", source, f"{out}/model", "--converter"]
    ours = {
        "weightsmith plain": [*convert, "plain"],
        "weightsmith ternary": [*convert, "ternary"],
        "weightsmith ternary pack=int4": [*convert, "ternary", "--set", "pack=int4"],
    }
    peers = {
        "torch.load + save_file + sync": [python, "-c", SAVE.format(change=""), source, out],
        "eager torch fuse + save_file + sync": [python, "-c", SAVE.format(change=FUSE), source, out],
    }
    return {PEER: ["/bin/sh", "-c", COPY, "sh", source, out], **ours, **(peers if everything else {})}


def table(figures: dict[str, Figure], gigabytes: float) -> str:
    peer = figures[PEER]
    rows = [
        (
            label,
            f"{f.seconds:.2f}",
            f"{f.seconds / peer.seconds:.2f} x",
            f"{f.cpu:.2f}",
            f"{f.cpu / peer.cpu:.2f} x",
            f"{gigabytes / f.cpu:.2f}",
            f"{f.megabytes:.0f}",
        )
        for label, f in figures.items()
    ]
    headers = ["whole process", "seconds", "of cp", "cpu s", "of cp", "GB per cpu s", "peak MB"]
    return tabulate(rows, headers=headers, disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="convert, beside cp and the torch routes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", type=Path, help="a folder made before by benchmarks.full_size")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    parser.add_argument("--ours-only", action="store_true", help="leave the torch routes out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        source = asked.source or write_latent(Path(name) / "latent")
        out = Path(name) / "out"

        def clear() -> None:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()

        figures = measure(commands(str(source), str(out), not asked.ours_only), asked.rounds, before=clear)
        size = (source / "pytorch_model.bin").stat().st_size / 1e9
    print(
        f"one {size:.2f} GB pytorch_model.bin, {asked.rounds} interleaved rounds, medians; both sides hashed"
    )
    print(table(figures, size))
    print(
        "goals: plain at most 1.2 x cp + sync, ternary at most 1.5 x, both at most 300 MB above the interpreter"
    )


if __name__ == "__main__":
    main()
