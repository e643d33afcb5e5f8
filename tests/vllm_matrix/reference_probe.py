"""Run in the main environment: what transformers says to the matrix's prompts, rightly and with a causal prompt.

    python reference_probe.py JOB.json OUT.safetensors

Writes, per prompt n, float32: `prefix.p<n>` and `causal.p<n>` [positions, vocabulary] along the right one's greedy
answer, and `tokens.p<n>`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM


def main(job_file: str, out: str) -> None:
    job = json.loads(Path(job_file).read_text())
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
    arrays = {}
    for n, prompt in enumerate(job["prompts"]):
        tokens, rows = greedy(model, prompt, job["max_tokens"], job["end"])
        arrays[f"tokens.p{n}"] = torch.tensor(tokens)
        arrays[f"prefix.p{n}"] = rows
        ids = torch.tensor([[*prompt, *tokens[:-1]]])
        logits = model(input_ids=ids, use_cache=False).logits[0, -len(tokens) :]
        arrays[f"causal.p{n}"] = torch.log_softmax(logits.float(), -1).contiguous()
    save_file(arrays, out)


def greedy(model: Any, prompt: list[int], most: int, end: int) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens up to and with `end`, and the log-probabilities [positions, vocabulary] they were chosen by."""
    ids = torch.tensor([prompt])
    # 1 over the prompt is what makes it see itself in both directions; without it, it is silently causal.
    output = model(input_ids=ids, token_type_ids=torch.ones_like(ids), use_cache=True)
    tokens: list[int] = []
    rows = []
    while True:
        rows.append(torch.log_softmax(output.logits[0, -1].float(), -1))
        tokens.append(int(rows[-1].argmax()))
        if tokens[-1] == end or len(tokens) == most:
            return tokens, torch.stack(rows)
        output = model(
            input_ids=torch.tensor([tokens[-1:]]), past_key_values=output.past_key_values, use_cache=True
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
