"""`make bench-infer`: infer-config on the full-size BitCPM4-CANN-1B shape, whole process, beside two peers.

The floor is an interpreter that imports click and tabulate and does nothing. The other peer is what one does
without weightsmith: build the model that the config describes on the meta device with transformers, read the
checkpoint's names and shapes with torch, and compare. The checkpoint is full size (3.2 GB) but sparse.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from benchmarks.processes import measure
from tests.checkpoint.headers import write_headers_only
from tests.shapes.reference import reference_shapes
from tests.shapes.test_field_reports import BITCPM, BITCPM_LIES
from weightsmith.checkpoint import open_checkpoint

ROUNDS = 9
TRANSFORMERS_ROUTE = """
import sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
config = AutoConfig.from_pretrained(sys.argv[1])
with torch.device("meta"):
    model = AutoModelForCausalLM.from_config(config)
stored = torch.load(sys.argv[1] + "/pytorch_model.bin", mmap=True, weights_only=True)
built = model.state_dict()
wrong = [n for n in stored.keys() | built.keys()
         if n not in stored or n not in built or stored[n].shape != built[n].shape]
print(len(wrong))
"""


def untie(folder: Path) -> None:
    """Makes the head differ from the embedding in its first row, as trained ones do: of zeros the two are equal, and
    to see that, all of their bytes are read."""
    head = open_checkpoint(folder).tensors["lm_head.weight"]
    with (folder / head.storage.file).open("r+b") as file:
        file.seek(head.start)
        file.write(b"\x3f")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_headers_only(folder, reference_shapes("llama", BITCPM), format="bin")
        untie(folder)
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **BITCPM, **BITCPM_LIES}
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        python = sys.executable
        figures = measure(
            {
                "import click, tabulate": [python, "-c", "import click, tabulate"],
                "weightsmith infer-config": [python, "-m", "weightsmith.cli", "infer-config", name],
                "transformers on meta + torch.load": [python, "-c", TRANSFORMERS_ROUTE, name],
            },
            ROUNDS,
            frozenset({0, 1}),  # 1: the config differs, as it should
        )
    floor = figures["import click, tabulate"].seconds
    rows = [
        (label, f"{f.seconds:.3f}", f"{f.seconds / floor:.1f} x", f"{f.megabytes:.0f}")
        for label, f in figures.items()
    ]
    print(f"one 3.2 GB pytorch_model.bin, {ROUNDS} interleaved rounds, medians")
    print(
        tabulate(rows, headers=["whole process", "seconds", "of the floor", "peak MB"], disable_numparse=True)
    )
    print("the transformers route only says that the config is wrong; infer-config says what is right")
    print("goals: at most 5 x the floor and 80 MB")


if __name__ == "__main__":
    main()
