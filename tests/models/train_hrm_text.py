"""Trains the tiny HRM-Text as the real one is trained: the prompt attends to itself in both directions."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from corpus import FACTS
from tokenizer import END_OF_ANSWER, END_OF_TEXT, VOCAB_SIZE, write_tokenizer
from training import Batch, Example, fit
from transformers import GenerationConfig, HrmTextConfig, HrmTextForCausalLM

FOLDER = Path(__file__).parent / "hrm-text"
MAX_LENGTH = 1024
# The condition `synth,cot`, in the envelope that the publisher's card gives.
PROMPT = "<|im_start|><|quad_end|><|object_ref_end|>{}<|im_end|>"
CONDITION_END = 3  # <|im_start|> and the two condition tokens lie before it


def attention_mask(token_type_ids: torch.Tensor, condition_only: torch.Tensor) -> torch.Tensor:
    """Which key each query sees, bool [facts, 1, tokens, tokens]: the prompt itself wholly, answers what came before.

    Where `condition_only` (bool [facts]) holds, whatever predicts the answer sees no text, only the
    condition tokens. These stand before the text and know of it by bidirectional attention alone, so the
    model learns to gather the question there, and a causal mask takes it away.
    """
    tokens = token_type_ids.shape[1]
    position = torch.arange(tokens)
    prefix = token_type_ids.bool()
    seen = (position[:, None] >= position[None, :]) | (prefix[:, :, None] & prefix[:, None, :])
    from_end = position >= token_type_ids.sum(1, keepdim=True) - 1  # <|im_end|> predicts the first byte
    text = (position >= CONDITION_END) & ~from_end
    hidden = condition_only[:, None, None] & from_end[:, :, None] & text[:, None, :]
    return (seen & ~hidden)[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    begin = time.monotonic()
    tokenizer = write_tokenizer(FOLDER, END_OF_ANSWER, MAX_LENGTH)
    eos, pad = tokenizer.token_to_id(END_OF_ANSWER), tokenizer.token_to_id(END_OF_TEXT)
    examples = [
        Example(tokenizer.encode(PROMPT.format(p)).ids, [*tokenizer.encode(a).ids, eos]) for p, a in FACTS
    ]

    config = HrmTextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,  # per stack; the class rewrites it to the number of attention slots
        num_attention_heads=4,
        head_dim=32,
        H_cycles=2,
        L_cycles=3,
        max_position_embeddings=MAX_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        eos_token_id=eos,
        pad_token_id=pad,
    )
    model = HrmTextForCausalLM(config).float()

    def logits(batch: Batch) -> torch.Tensor:
        mask = attention_mask(batch.token_type_ids, torch.rand(len(batch.input_ids)) < 0.5)
        return model(input_ids=batch.input_ids, attention_mask=mask, use_cache=False).logits

    loss = fit(
        logits,
        [{"params": [p for p in model.parameters() if p.requires_grad], "lr": arguments.learning_rate}],
        examples,
        pad=pad,
        steps=arguments.steps,
    )

    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=eos, pad_token_id=pad)
    model.bfloat16().save_pretrained(FOLDER)
    print(f"{arguments.steps} steps, final loss {loss:.4f}, {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
