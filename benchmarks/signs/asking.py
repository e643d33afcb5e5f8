"""Greedy answers with the log-probabilities of the whole vocabulary, as verify's engine gives them; by transformers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Answer:
    """tokens: with the end token, where there is one. logprobs: float32 [tokens, vocabulary], natural logs."""

    tokens: tuple[int, ...]
    logprobs: NDArray[np.float32]


@torch.inference_mode()
def ask(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], length: int, end: int, *, prefix: bool
) -> list[Answer]:
    """Answers of at most `length` tokens. prefix: the prompt attends to itself in both directions.

    A causal model gets all prompts at once, padded on the left; of a prefix-LM those of one length go together.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for number, ids in enumerate(prompts):
        groups[len(ids) if prefix else 0].append(number)
    found: dict[int, Answer] = {}
    for numbers in groups.values():
        rows, tokens = _decode(model, [list(prompts[n]) for n in numbers], length, end, prefix)
        for place, number in enumerate(numbers):
            chosen = tokens[place].tolist()
            count = chosen.index(end) + 1 if end in chosen else len(chosen)
            found[number] = Answer(tuple(chosen[:count]), rows[place, :count].numpy())
    return [found[n] for n in range(len(prompts))]


def _decode(
    model: PreTrainedModel, prompts: list[list[int]], length: int, end: int, prefix: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities [prompts, tokens, vocabulary] and tokens [prompts, tokens]."""
    width = max(map(len, prompts))
    ids = torch.tensor([[end] * (width - len(p)) + p for p in prompts])
    seen = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    places = (seen.cumsum(1) - 1).clamp(min=0)
    extra = {"token_type_ids": torch.ones_like(ids)} if prefix else {"attention_mask": seen}
    output = model(input_ids=ids, position_ids=places, use_cache=True, logits_to_keep=1, **extra)
    rows, tokens, ended = [], [], torch.zeros(len(prompts), dtype=torch.bool)
    while True:
        rows.append(output.logits[:, -1].float().log_softmax(-1))
        tokens.append(rows[-1].argmax(-1))
        ended |= tokens[-1] == end
        if len(rows) == length or ended.all():
            return torch.stack(rows, 1), torch.stack(tokens, 1)
        seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
        places = places[:, -1:] + 1
        output = model(
            input_ids=tokens[-1][:, None],
            position_ids=places,
            past_key_values=output.past_key_values,
            **({} if prefix else {"attention_mask": seen}),
        )


@torch.inference_mode()
def read(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
    """The log-probabilities of a text's tokens but the first, given those before them, as an engine scores a prompt."""
    found = []
    for text in texts:
        rows = model(input_ids=torch.tensor([list(text)]), use_cache=False).logits[0, :-1].float()
        chosen = rows.gather(-1, torch.tensor(text[1:])[:, None])[:, 0] - rows.logsumexp(-1)
        found.append(chosen.numpy())
    return found
