"""What the cells of the matrix share: the prompts, the references, running a probe, and distances between answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from environment import HERE, MATRIX, ROOT
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from pathlib import Path

MODEL = ROOT / "tests" / "models" / "hrm-text"
RESULTS = MATRIX / "results"

# fp32 against fp32, the sums in another order: measured 1.3e-5 to 1.6e-5. A wrong mask: 8 and more.
SAME = 1e-3
DIFFERENT = 1.0


@dataclass
class Reference:
    """transformers' greedy answers and log-probabilities [positions, vocabulary], right and with a causal prompt."""

    job: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def tokens(self, n: int) -> list[int]:
        return [int(t) for t in self.arrays[f"tokens.p{n}"]]

    def distance(
        self, said: dict[str, np.ndarray], mask: str, tokens: dict[int, list[int]] | None = None
    ) -> float:
        """Largest |Δ log p| over all prompts and positions up to the first token that differs from the reference's.

        said: `p<n>` arrays. tokens: the answers they belong to; without them only first positions are compared.
        """
        largest = 0.0
        for name, rows in said.items():
            n = int(name.rpartition("p")[2])
            shared = 1 + _agreeing(tokens[n], self.tokens(n)) if tokens else 1
            right = self.arrays[f"{mask}.p{n}"]
            shared = min(shared, len(rows), len(right))
            difference = np.abs(rows[:shared] - right[:shared]).max()
            if not np.isfinite(difference):
                return float("inf")
            largest = max(largest, float(difference))
        return largest


def _agreeing(one: list[int], other: list[int]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


@dataclass
class Cell:
    """One line of the result table."""

    name: str
    prefix: float
    causal: float
    equal: str
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)

    def keep(self) -> None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        line = {k: getattr(self, k) for k in ("name", "prefix", "causal", "equal", "seconds")}
        (RESULTS / f"{self.name.replace(' ', '-').replace(',', '')}.json").write_text(json.dumps(line))


def make_reference(folder: Path) -> Reference:
    """The job of all cells: the built-in prompts of `verify-on-npu`, wrapped as HRM-Text wants them."""
    from transformers import AutoTokenizer

    from weightsmith.verify.inputs.kinds import PREFIX_LM
    from weightsmith.verify.inputs.prompts import BUILT_IN

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    before, after = "".join(PREFIX_LM.template.before), "".join(PREFIX_LM.template.after)
    prompts = [tokenizer(before + p.text + after).input_ids for p in BUILT_IN]
    job = {
        "model": str(MODEL),
        "dtype": "float32",
        "prompts": [ids for ids in prompts if len(ids) < 450],
        "max_tokens": 16,
        "max_model_len": 512,
        "max_num_seqs": 8,
        "vocabulary": 264,
        "end": 263,
    }
    write_job(job, folder / "job.json")
    out = folder / "reference.safetensors"
    command = [sys.executable, HERE / "reference_probe.py", folder / "job.json", out]
    subprocess.run([str(part) for part in command], check=True)
    return Reference(job, load_file(out))


def write_job(job: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(job))


def run_probe(
    python: Path | str, probe: str, job: dict[str, Any], folder: Path, variables: dict[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, Any], float]:
    """(log-probabilities, what else it wrote, seconds). A probe that fails shows the end of its log."""
    shutil.rmtree(folder, ignore_errors=True)
    write_job(job, folder / "job.json")
    started = time.monotonic()
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            [str(python), str(HERE / probe), "job.json", "."],
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
    if done.returncode:
        tail = (folder / "log.txt").read_text(errors="replace")[-4000:]
        raise AssertionError(f"{probe} ended with {done.returncode}:\n{tail}")
    name = "facts.json" if probe.startswith("ascend") else "answers.json"
    facts = json.loads((folder / name).read_text())
    return load_file(folder / "logprobs.safetensors"), facts, time.monotonic() - started
