"""A vLLM of a few lines with a vocabulary of five tokens: runs the code of the engine's child without an engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

VOCABULARY, END = 5, 4
BLOCK = 16
# Log-probability by rank: token n + 1 is the favourite after a sequence of n tokens.
RANKED = [math.log(p) for p in (0.5, 0.25, 0.125, 0.0625, 0.0625)]


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    detokenize: bool
    logprobs: int = 0
    prompt_logprobs: int | None = None


class LLM:
    """Refuses more log-probabilities a position than `most`, where that is not None."""

    most: int | None = None

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.resets = 0
        model = SimpleNamespace(
            get_vocab_size=lambda: VOCABULARY,
            hf_text_config=SimpleNamespace(eos_token_id=END),
            try_get_generation_config=lambda: {"eos_token_id": [END]},
            max_model_len=arguments["max_model_len"],
            dtype=arguments["dtype"],
            enforce_eager=arguments["enforce_eager"],
        )
        # Room for two requests at once.
        blocks = -(-2 * arguments["max_model_len"] // BLOCK)
        cached = arguments.get("enable_prefix_caching", True)
        cache = SimpleNamespace(num_gpu_blocks=blocks, block_size=BLOCK, enable_prefix_caching=cached)
        scheduler = SimpleNamespace(
            max_num_batched_tokens=arguments["max_num_batched_tokens"], enable_chunked_prefill=True
        )
        config = SimpleNamespace(model_config=model, cache_config=cache, scheduler_config=scheduler)
        self.llm_engine = SimpleNamespace(vllm_config=config)

    def reset_prefix_cache(self) -> None:
        self.resets += 1

    def generate(
        self, requests: list[dict[str, list[int]]], params: SamplingParams, use_tqdm: bool
    ) -> list[Any]:
        if self.most is not None and not 0 <= params.logprobs <= self.most:
            raise ValueError(f"logprobs must be at most {self.most}")
        return [_output(request["prompt_token_ids"], params) for request in requests]


def _output(prompt: list[int], params: SamplingParams) -> Any:
    tokens: list[int] = []
    rows = []
    while len(tokens) < params.max_tokens and (not tokens or tokens[-1] != END):
        order = [(len(prompt) + len(tokens) + rank) % VOCABULARY for rank in range(VOCABULARY)]
        shown = order if params.logprobs == -1 else order[: params.logprobs]
        rows.append(
            {token: SimpleNamespace(logprob=RANKED[rank], rank=rank + 1) for rank, token in enumerate(shown)}
        )
        tokens.append(order[0])
    finish = "stop" if tokens[-1] == END else "length"
    completion = SimpleNamespace(token_ids=tokens, logprobs=rows, finish_reason=finish)
    scored = [None, *({token: SimpleNamespace(logprob=-1.0 - token)} for token in prompt[1:])]
    return SimpleNamespace(outputs=[completion], metrics=None, prompt_logprobs=scored)


class Tokenizer:
    """One token a letter."""

    eos_token_id = END
    chat_template = None

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [0] * len(text)}

    def get_vocab(self) -> dict[str, int]:
        return {"<a>": 1}

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return " ".join(map(str, tokens))
