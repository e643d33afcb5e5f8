"""Trains the tiny HRM-Text as the real one is trained: the prompt attends to itself in both directions."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from corpus import FACTS
from tokenizer import END_OF_ANSWER, END_OF_TEXT, VOCAB_SIZE, write_tokenizer
from training import Example, fit
from transformers import GenerationConfig, HrmTextConfig, HrmTextForCausalLM

FOLDER = Path(__file__).parent / "hrm-text"
MAX_LENGTH = 1024
# The condition `synth,cot`, in the envelope that the publisher's card gives.
PROMPT = "<|im_start|><|quad_end|><|object_ref_end|>{}<|im_end|>"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1800)
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
    embeddings = model.model.embed_tokens.weight
    others = [p for p in model.parameters() if p.requires_grad and p is not embeddings]
    loss = fit(
        lambda batch: (
            model(input_ids=batch.input_ids, token_type_ids=batch.token_type_ids, use_cache=False).logits
        ),
        # Embeddings are multiplied by embedding_scale (50): a smaller step keeps them in range.
        [
            {"params": [embeddings], "lr": arguments.learning_rate / 10},
            {"params": others, "lr": arguments.learning_rate},
        ],
        examples,
        pad=pad,
        steps=arguments.steps,
    )

    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=eos, pad_token_id=pad)
    model.bfloat16().save_pretrained(FOLDER)
    print(f"{arguments.steps} steps, final loss {loss:.4f}, {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
