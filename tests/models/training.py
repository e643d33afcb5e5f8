"""How both tiny models are trained: batches of facts, loss on the answer, AdamW with a cosine schedule."""

from __future__ import annotations

import math
import random
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

IGNORED = -100  # no loss here


class Example(NamedTuple):
    """Token ids of one fact; the answer ends with the eos token."""

    prompt: list[int]
    answer: list[int]


class Batch(NamedTuple):
    """int64 [facts, tokens] each: right-padded ids, labels of the next token, 1 over the prompt."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    token_type_ids: torch.Tensor


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """The last token of an answer is only ever a label."""
    width = max(len(e.prompt) + len(e.answer) for e in examples) - 1
    ids, labels, prefix = ([[filler] * width for _ in examples] for filler in (pad, IGNORED, 0))
    for row, (prompt, answer) in enumerate(examples):
        known, end = len(prompt), len(prompt) + len(answer) - 1
        ids[row][:end] = [*prompt, *answer[:-1]]
        labels[row][known - 1 : end] = answer
        prefix[row][:known] = [1] * known
    return Batch(torch.tensor(ids), torch.tensor(labels), torch.tensor(prefix))


def fit(
    logits: Callable[[Batch], torch.Tensor],
    parameters: Iterable[dict[str, object]],
    examples: Sequence[Example],
    pad: int,
    *,
    steps: int,
    batch_size: int = 24,
    long_every: int = 6,
    warmup: int = 100,
) -> float:
    """Trains on random batches and returns the mean loss of the last hundred steps.

    The few long prompts have batches of their own, so that they do not stretch all others with padding.
    """
    long = [e for e in examples if len(e.prompt) > 128]
    short = [e for e in examples if len(e.prompt) <= 128]
    draw = random.Random(0)
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
        ),
    )
    losses: list[float] = []
    begin = time.monotonic()
    for step in range(steps):
        batch = collate(long if step % long_every == 0 else draw.sample(short, batch_size), pad)
        loss = cross_entropy(
            logits(batch).float().flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 99:
            recent = sum(losses[-100:]) / 100
            print(
                f"step {step + 1}/{steps}  loss {recent:.4f}  {time.monotonic() - begin:.0f} s",
                file=sys.stderr,
            )
    return sum(losses[-100:]) / 100
