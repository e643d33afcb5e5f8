"""A small Llama whose head is its embedding, trained on the spot: neither of the two trained models ties them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from benchmarks.faults.folder import WEIGHTS, save

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 240
_SIZES = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "vocab_size": 264,
}


def train(tokenizer_of: Path, questions: Path, folder: Path) -> None:
    """Teaches the questions of a prompts file by heart and writes the folder as transformers would, head left out.

    tokenizer_of: a model's folder with the byte-level tokenizer. Seeded; some ten seconds on one core.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.models.corpus import FACTS
    from tests.models.training import Example, fit

    torch.manual_seed(0)
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(tokenizer_of / "tokenizer.json"))
    end = tokenizer.token_to_id("<|endoftext|>")
    asked = {json.loads(line)["prompt"] for line in questions.read_text(encoding="utf-8").splitlines()}
    examples = [
        Example(tokenizer.encode(f.prompt).ids, [*tokenizer.encode(f.answer).ids, end])
        for f in FACTS
        if f.prompt in asked
    ]
    config = LlamaConfig(
        **_SIZES,
        architectures=["LlamaForCausalLM"],
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
        dtype="bfloat16",
    )
    model = LlamaForCausalLM(config).float()
    fit(
        lambda batch: model(input_ids=batch.input_ids, use_cache=False).logits,
        [{"params": list(model.parameters()), "lr": 3e-3}],
        examples,
        pad=end,
        steps=STEPS,
        batch_size=8,
        warmup=20,
    )
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(tokenizer_of / name, folder)
    model.config.save_pretrained(folder)
    tensors = {name: tensor.detach().bfloat16() for name, tensor in model.state_dict().items()}
    save({name: t for name, t in tensors.items() if name != "lm_head.weight"}, folder / WEIGHTS)
