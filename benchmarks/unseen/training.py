"""Small language models of many families, trained in minutes on the text that lies in the installed packages."""

from __future__ import annotations

import json
import math
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # How wide a head is, and what makes the untrained model.
    Kind: TypeAlias = tuple[int, Callable[[], hf.PreTrainedModel]]

WORDS = 2048
_SIZES = {
    "vocab_size": WORDS, "hidden_size": 192, "num_hidden_layers": 3, "intermediate_size": 512,
    "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
}  # fmt: skip
_WIDER = {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 640}
_ENDS = {"bos_token_id": 0, "eos_token_id": 0}
_GPT2 = {"vocab_size": WORDS, "n_positions": 512, "n_embd": 192, "n_layer": 3, **_ENDS}
_CHARACTERS, _LONGEST_TEXT = 14_000_000, 60_000
_TOKENS, _BATCH, _RATE, _WARMUP = 128, 12, 3e-3, 30


def _llama(**sizes: object) -> hf.PreTrainedModel:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**{**_SIZES, **sizes}))


def _heads(count: int, key_value: int, width: int) -> dict[str, int]:
    return {"num_attention_heads": count, "num_key_value_heads": key_value, "head_dim": width}


# name → (how wide a head is, the untrained model).
KINDS: dict[str, Kind] = {
    "llama, grouped": (32, lambda: _llama(**_heads(6, 2, 32), tie_word_embeddings=True)),
    "gpt2, 4 heads": (48, lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**_GPT2, n_head=4))),
    "llama, 4 heads": (48, lambda: _llama(**_heads(4, 4, 48))),
    "qwen3": (32, lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**_SIZES, **_heads(6, 2, 32), tie_word_embeddings=True))),
    "gpt-neox, a quarter rotary": (48, lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(
        vocab_size=WORDS, hidden_size=192, num_hidden_layers=3, num_attention_heads=4, intermediate_size=768,
        rotary_pct=0.25, max_position_embeddings=512, **_ENDS))),
    "gemma, one key head": (64, lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**_SIZES, **_heads(3, 1, 64)))),
    "mixtral, 2 of 4": (32, lambda: hf.MixtralForCausalLM(hf.MixtralConfig(
        **{**_SIZES, "intermediate_size": 192}, **_heads(6, 2, 32), num_local_experts=4, num_experts_per_tok=2))),
    "llama, one key head": (64, lambda: _llama(**_heads(3, 1, 64))),
    "opt": (32, lambda: hf.OPTForCausalLM(hf.OPTConfig(
        vocab_size=WORDS, hidden_size=192, num_hidden_layers=3, ffn_dim=512, num_attention_heads=6,
        max_position_embeddings=512, word_embed_proj_dim=192, pad_token_id=1, **_ENDS))),
    "qwen2": (32, lambda: hf.Qwen2ForCausalLM(
        hf.Qwen2Config(**_SIZES, num_attention_heads=6, num_key_value_heads=2))),
    "llama, 6 heads": (32, lambda: _llama(**_heads(6, 6, 32))),
    "llama, 12 heads": (16, lambda: _llama(**_heads(12, 12, 16), tie_word_embeddings=True)),
    "phi3": (32, lambda: hf.Phi3ForCausalLM(
        hf.Phi3Config(**_SIZES, num_attention_heads=6, num_key_value_heads=2))),
    "gpt2, 6 heads": (32, lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**_GPT2, n_head=6))),
    "gpt-j": (32, lambda: hf.GPTJForCausalLM(hf.GPTJConfig(**_GPT2, n_head=6, rotary_dim=16))),
    "gemma3": (32, lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**_SIZES, **_heads(6, 2, 32)))),
    "gemma2": (32, lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(
        **_SIZES, **_heads(6, 2, 32), query_pre_attn_scalar=32, sliding_window=32))),
    "granite": (32, lambda: hf.GraniteForCausalLM(hf.GraniteConfig(
        **_SIZES, num_attention_heads=6, num_key_value_heads=2, embedding_multiplier=12.0, logits_scaling=8.0,
        residual_multiplier=0.22, attention_multiplier=1 / 32))),
    "mistral, a window of 32": (32, lambda: hf.MistralForCausalLM(hf.MistralConfig(
        **_SIZES, **_heads(6, 2, 32), sliding_window=32))),
}  # fmt: skip

# Kinds and sizes on which no threshold was chosen: what is told of them is told of models that nobody looked at before.
HELD_OUT: dict[str, Kind] = {
    "llama, 8 heads": (32, lambda: _llama(**_WIDER, **_heads(8, 2, 32))),
    "gpt2, 4 wide heads": (64, lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(**{**_GPT2, "n_embd": 256, "n_layer": 4}, n_head=4))),
    "stablelm, a quarter rotary": (64, lambda: hf.StableLmForCausalLM(hf.StableLmConfig(
        **{**_SIZES, **_WIDER}, num_attention_heads=4, num_key_value_heads=4, partial_rotary_factor=0.25))),
    "olmo2": (32, lambda: hf.Olmo2ForCausalLM(
        hf.Olmo2Config(**{**_SIZES, **_WIDER}, num_attention_heads=8, num_key_value_heads=8))),
    "starcoder2, a window of 48": (32, lambda: hf.Starcoder2ForCausalLM(hf.Starcoder2Config(
        **{**_SIZES, **_WIDER}, num_attention_heads=8, num_key_value_heads=2, sliding_window=48))),
    "mixtral, 3 of 6": (64, lambda: hf.MixtralForCausalLM(hf.MixtralConfig(
        **{**_SIZES, **_WIDER, "intermediate_size": 192}, **_heads(4, 2, 64),
        num_local_experts=6, num_experts_per_tok=3))),
}  # fmt: skip


def texts() -> Iterator[str]:
    """Documentation, licences and sources of the Python and the packages that run this; about 14 MB."""
    packages = Path(torch.__file__).resolve().parents[1]
    library = Path(json.__file__).resolve().parents[1]
    patterns = (
        (packages, "*.dist-info/METADATA"),
        (packages, "**/*.md"),
        (packages, "**/*.rst"),
        (library, "*.py"),
    )
    left = _CHARACTERS
    for place, pattern in patterns:
        for file in sorted(place.glob(pattern)):
            text = file.read_text(encoding="utf-8", errors="ignore")[:_LONGEST_TEXT]
            yield text
            left -= len(text)
            if left <= 0:
                return


def tokens(folder: Path) -> np.ndarray:
    """Token ids of all texts; `folder` gets the tokenizer, a byte-level BPE of 2,048 tokens."""
    place, kept = folder / "tokenizer.json", folder / "tokens.npy"
    if kept.exists():
        return np.load(kept)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|pad|>", "<|user|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts(), trainer)
    ids = np.array([i for text in texts() for i in [0, *tokenizer.encode(text).ids]], np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(place))
    np.save(kept, ids)
    return ids


def trained(folder: Path, kind: str, seed: int, seconds: float) -> tuple[Path, Path]:
    """(the untrained model, the model trained for so many seconds on one thread), which are kept in `folder`."""
    place = folder / f"{kind} {seed}"
    begin, end = place / "untrained", place / "trained"
    if (end / "config.json").exists():
        return begin, end
    ids = tokens(folder)
    torch.manual_seed(seed)
    model = _made(kind)
    model.save_pretrained(begin)
    history = _fit(model, ids, seed, seconds)
    model.save_pretrained(end)
    for made in (begin, end):
        (made / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (place / "history.json").write_text(json.dumps(history))
    return begin, end


def _made(kind: str) -> hf.PreTrainedModel:
    return {**KINDS, **HELD_OUT}[kind][1]()


def steps_of(folder: Path) -> int | None:
    """How many steps of training a model of `trained` had; None for another model."""
    kept = folder.parent / "history.json"
    return int(json.loads(kept.read_text())["steps"]) if kept.exists() else None


@contextmanager
def untrained(folder: Path, kind: str, seed: int) -> Iterator[Path]:
    """A model as its class initializes it, with the tokenizer of `folder`; it is removed afterwards."""
    tokens(folder)
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as kept:
        _made(kind).save_pretrained(kept)
        (Path(kept) / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
        yield Path(kept)


def _fit(model: hf.PreTrainedModel, ids: np.ndarray, seed: int, seconds: float) -> dict[str, float]:
    """AdamW with a cosine schedule over the time there is: how many steps, and the mean loss of the last 20 in nats."""
    draw, losses, start = np.random.default_rng(seed), [], time.monotonic()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    model.train()
    while (done := (time.monotonic() - start) / seconds) < 1:
        rate = (
            _RATE * min(1, (len(losses) + 1) / _WARMUP) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = draw.integers(0, len(ids) - _TOKENS, _BATCH)
        batch = torch.from_numpy(np.stack([ids[at : at + _TOKENS] for at in starts]))
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return {"steps": len(losses), "loss": float(np.mean(losses[-20:]))}
