"""What a file of a model's folder is, told by its name: weights, what loaders read beside them, or words for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import names_in

if TYPE_CHECKING:
    from pathlib import Path

# Weights of any engine, and what a trainer leaves beside them. tokenizer.model and merges have none of these suffixes.
_WEIGHTS = re.compile(
    r".*\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|gguf|ggml|onnx|onnx_data|ot|npz|pkl|pickle|distcp|mlmodel)"
    r"|.*\.(safetensors|bin|pt|pth|h5|msgpack)\.index\.json",
    re.IGNORECASE,
)
# As transformers, tokenizers, sentence-transformers, ModelScope, compressed-tensors and ModelSlim name them.
_LOADED = re.compile(
    r"(config|generation_config|adapter_config|configuration|params|model_args|modules|recipe)\.(json|ya?ml)"
    r"|((image_|video_|audio_)?(pre)?processor|feature_extractor|quantize|quant|quantization|hf_quant|sentence_\w+|vision)"
    r"_config\.json"
    r"|config_sentence_transformers\.json|quant_model_description\w*\.json"
    r"|(tokenizer|special_tokens_map|added_tokens|tokenizer_config|chat_template|vocab|vocabulary|normalizer|tekken)\.json"
    r"|vocab\.(txt|bpe|model)|merges\.txt|bpe\.codes|dict\.txt"
    r"|(tokenizer|sentencepiece|spiece|spm|source|target)[\w.-]*\.model(\.v\d+)?|[\w.-]+\.tiktoken|chat_template\.jinja"
    r"|(modeling|configuration|tokenization|processing|image_processing|video_processing|feature_extraction|"
    r"modular|generation|custom)_\w+\.py",
    re.IGNORECASE,
)
_FOR_PEOPLE = re.compile(
    r"(readme|model_?card|licen[cs]e|notice|use_policy|acceptable_use_policy|copying)([-_.][\w.-]*)?",
    re.IGNORECASE,
)

# The state that trainers (transformers, accelerate, DeepSpeed, Lightning, Megatron) leave beside the weights.
_TRAINING = re.compile(
    r"(training_args|optimizer|optim|scheduler|lr_scheduler|scaler|sampler|dataloader|rng_state|random_states|"
    r"carry_epoch|common|custom_checkpoint|.*optim_states|.*_optimizer)(?![A-Za-z])[\w.-]*\.(bin|pt|pth|pkl)"
)
_TOKENIZER = re.compile(
    r"(tokenizer|special_tokens_map|added_tokens|tokenizer_config|vocab|tekken|chat_template)\.json|merges\.txt"
    r"|vocab\.(txt|bpe|model)|(tokenizer|sentencepiece|spiece|spm)[\w.-]*\.model(\.v\d+)?|[\w.-]+\.tiktoken"
    r"|chat_template\.jinja|tokenization_\w+\.py",
    re.IGNORECASE,
)


def is_tokenizer(name: str) -> bool:
    """Whether a file of this name is one of those that make a tokenizer together."""
    return _TOKENIZER.fullmatch(name) is not None


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights, an index of them, or a trainer's state."""
    return _WEIGHTS.fullmatch(name) is not None


def is_loaded(name: str) -> bool:
    """Whether a loader may read a file of this name: weights, configs, tokenizers, the model's own code."""
    return is_weights(name) or _LOADED.fullmatch(name) is not None


def belongs_to_model(name: str) -> bool:
    """Whether a model's folder holds files of this name: what a loader may read, cards and licences."""
    return is_loaded(name) or _FOR_PEOPLE.fullmatch(name) is not None


def weights_in(folder: Path) -> list[Path]:
    """The files of such names in a folder; none where it cannot be read."""
    return [folder / name for name in names_in(folder) if is_weights(name)]


def is_trainer_state(name: str) -> bool:
    """Whether a file of this name is what a trainer keeps beside the weights."""
    return _TRAINING.fullmatch(name) is not None
