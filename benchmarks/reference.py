"""`make bench-reference`: the reference's replay layer by layer, beside the same replay of the whole model in memory.

The peer is what one does where the memory is there: transformers with all weights loaded. The checkpoint is Llama 3.1
8B with a part of its layers, bf16 on disk, replayed in fp32; the two must give the same numbers to the last bit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tabulate import tabulate

from benchmarks.full_size import LLAMA_8B, write_sharded
from benchmarks.processes import measure

WHOLE, LAYERED = "whole", "layer by layer"
PROMPT, ANSWER = 32, 16


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--layers", type=int, default=8, help="of 32; 8 need 12 GB of memory whole")
    arguments.add_argument("--answers", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=3)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model = write_sharded(Path(name) / "model", asked.layers, 2 << 30)
        folders = {how: Path(name) / how.replace(" ", "-") for how in (WHOLE, LAYERED)}

        def begin_round() -> None:
            if any((folder / "job.json").exists() and not _done(folder) for folder in folders.values()):
                return
            for how, folder in folders.items():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                (folder / "job.json").write_text(json.dumps(_job(model, asked.answers, how)))

        figures = measure(
            {
                how: [sys.executable, "-m", "weightsmith.verify.reference.worker", str(folder)]
                for how, folder in folders.items()
            },
            asked.rounds,
            before=begin_round,
        )
        one, other = (load_file(folder / "reference-float32.safetensors") for folder in folders.values())
        same = all(np.array_equal(values, other[key]) for key, values in one.items())
    peer = figures[WHOLE]
    rows = [
        (
            how,
            f"{f.seconds:.1f}",
            f"{f.seconds / peer.seconds:.2f} x",
            f"{f.megabytes:.0f}",
            f"{f.megabytes / peer.megabytes:.2f} x",
        )
        for how, f in figures.items()
    ]
    print(
        f"{asked.layers} layers of Llama 3.1 8B in fp32, {asked.answers} answers of {PROMPT} + {ANSWER} tokens, "
        f"whole processes, medians of {asked.rounds} interleaved rounds"
    )
    header = ("", "seconds", "of whole", "peak MB", "of whole")
    print(tabulate(rows, headers=header, disable_numparse=True))
    print(f"log-probabilities the same to the last bit: {'yes' if same else 'NO'}")


def _done(folder: Path) -> bool:
    return (folder / "result.json").exists()


def _job(model: Path, answers: int, how: str) -> dict[str, object]:
    drawn = np.random.default_rng(1).integers(0, LLAMA_8B["vocab_size"], (answers, PROMPT + ANSWER)).tolist()
    right = {"name": "reference", "dtype": "float32", "mask": "causal", "weights": None}
    return {
        "model": str(model),
        "variations": [{**right, "skip_layer": None, "rope_base": False}],
        "completions": [
            {"prompt": n, "ids": ids[:PROMPT], "tokens": ids[PROMPT:]} for n, ids in enumerate(drawn)
        ],
        "layer_by_layer": ["float32"] if how == LAYERED else [],
    }


if __name__ == "__main__":
    main()
