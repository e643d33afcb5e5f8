"""In the engine's child: one long answer, decoded token by token, and then prefilled whole by the same engine.

Both ways must give the same probabilities. Decoding reads a cache that grows over many blocks, prefilling does not:
where the two part, the cache, its positions or the decode kernel is wrong, and no reference is needed to see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.verify.engine.engine_job import LongAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm import LLM


def answer(llm: LLM, number: int, prompt: Sequence[int], tokens: int) -> LongAnswer:
    """Answers a prompt at length, over end tokens, and asks for the probabilities of that answer as a prompt."""
    from vllm import SamplingParams

    decode = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, logprobs=0, detokenize=False)
    (output,) = llm.generate([{"prompt_token_ids": list(prompt)}], decode, use_tqdm=False)
    generated = output.outputs[0]
    chosen = tuple(generated.token_ids)
    # One token more is the least that vLLM generates.
    prefill = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
    (whole,) = llm.generate([{"prompt_token_ids": [*prompt, *chosen]}], prefill, use_tqdm=False)
    rows = list(whole.prompt_logprobs)[len(prompt) :]
    return LongAnswer(
        prompt=number,
        tokens=chosen,
        decoded=tuple(row[token].logprob for row, token in zip(generated.logprobs, chosen, strict=True)),
        prefilled=tuple(row[token].logprob for row, token in zip(rows, chosen, strict=True)),
    )
