"""In the engine's child: how likely the engine finds text that people wrote, and the same tokens in another order.

A model judges its own greedy answer by the very probabilities that chose it, so a broken one is as sure of its word
salad as a sound one of its sentences. Only a model that works finds the order likelier in which people wrote.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from weightsmith.verify.engine.engine_job import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm import LLM

# Of a text with fewer tokens there is hardly another order.
_LEAST_TOKENS = 4


def read(llm: LLM, texts: Sequence[Sequence[int]]) -> Reading | None:
    """Asks for the probabilities of texts as they stand and shuffled; None where all are too short. texts: token ids.

    The first token of each stays where it is: it may be a special one, and has no probability anyway.
    """
    draw = random.Random(0)
    natural = [list(ids) for ids in texts if len(ids) >= _LEAST_TOKENS]
    if not natural:
        return None
    shuffled = [[ids[0], *draw.sample(ids[1:], len(ids) - 1)] for ids in natural]
    return Reading(sum(len(ids) - 1 for ids in natural), _mean(llm, natural), _mean(llm, shuffled))


def _mean(llm: LLM, texts: Sequence[Sequence[int]]) -> float:
    """Mean log-probability of a token given those before it, nats."""
    from vllm import SamplingParams

    params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in texts], params, use_tqdm=False)
    found = [
        float(row[token].logprob)
        for ids, output in zip(texts, outputs, strict=True)
        for token, row in zip(ids[1:], list(output.prompt_logprobs)[1:], strict=True)
    ]
    return sum(found) / len(found)
