"""The byte-level tokenizer of the tiny models: 256 bytes, eight special tokens, no merges."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

if TYPE_CHECKING:
    from pathlib import Path

END_OF_TEXT = "<|endoftext|>"
END_OF_ANSWER = "<|box_end|>"  # what HRM-Text ends an answer with
# The condition tokens carry the names that HRM-Text uses for them (direct, cot, noisy, synth).
SPECIAL = (
    END_OF_TEXT,
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    END_OF_ANSWER,
)
VOCAB_SIZE = 256 + len(SPECIAL)


def byte_level() -> Tokenizer:
    """One token per byte of UTF-8; nothing is added around a text."""
    # ByteLevel writes bytes as printable stand-ins: those that print stand for themselves, in order,
    # the others follow from U+0100 on. Sorting by code point keeps ids stable across versions.
    vocab = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return tokenizer


def write_tokenizer(folder: Path, eos_token: str, max_length: int) -> Tokenizer:
    """Writes `tokenizer.json` and `tokenizer_config.json`; there is no bos token."""
    tokenizer = byte_level()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # transformers before 5 knows no other name for it
        "model_max_length": max_length,
        "eos_token": eos_token,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return tokenizer
