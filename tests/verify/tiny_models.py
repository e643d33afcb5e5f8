"""Tiny models of other kinds, made of random numbers without transformers: what an engine and a reference both load."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# vLLM's attention on a CPU has kernels for heads of 32 numbers and more.
WIDTH, INNER, HEADS = 64, 128, 2
# Larger than a fresh model's: answers shall depend on what is asked.
_SCALE = 0.08


def bert(folder: Path, pooling: str = "mean", *, normalise: bool = True) -> Path:
    """An embedding model as sentence-transformers stores it."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = _tokenizer(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    _save_tokenizer(folder, tokenizer, {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"})
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    _write(folder, "config.json", config)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (tokenizer.get_vocab_size(), WIDTH),
        "embeddings.position_embeddings.weight": (512, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        **_norm("embeddings.LayerNorm"),
    }
    for n in range(3):
        layer = f"encoder.layer.{n}"
        for name in ("query", "key", "value"):
            shapes |= _linear(f"{layer}.attention.self.{name}", WIDTH, WIDTH)
        shapes |= _linear(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        shapes |= _norm(f"{layer}.attention.output.LayerNorm")
        shapes |= _linear(f"{layer}.intermediate.dense", INNER, WIDTH)
        shapes |= _linear(f"{layer}.output.dense", WIDTH, INNER)
        shapes |= _norm(f"{layer}.output.LayerNorm")
    _save(folder, shapes)
    sentences(folder, pooling, normalise=normalise)
    return folder


def sentences(folder: Path, pooling: str, *, normalise: bool = True) -> None:
    """What sentence-transformers writes beside a model."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalise else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    rows = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    _write(folder, "modules.json", rows)
    (folder / "1_Pooling").mkdir()
    modes = {"cls": "cls_token", "mean": "mean_tokens", "lasttoken": "lasttoken", "max": "max_tokens"}
    switches = {f"pooling_mode_{word}": name == pooling for name, word in modes.items()}
    _write(folder / "1_Pooling", "config.json", {"word_embedding_dimension": WIDTH, **switches})


def idefics3(folder: Path) -> Path:
    """A model that takes pictures, of the family of SmolVLM."""
    special = ["<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "<global-img>"]
    special += ["<end_of_utterance>", *(f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5))]
    tokenizer = _tokenizer(special)
    said: dict[str, Any] = {
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "extra_special_tokens": {
            "image_token": "<image>",
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
        "processor_class": "Idefics3Processor",
    }
    _save_tokenizer(folder, tokenizer, said)
    (folder / "chat_template.jinja").write_text(_CHAT, encoding="utf-8")
    pixels = {
        "image_processor_type": "Idefics3ImageProcessor",
        "size": {"longest_edge": 112},
        "max_image_size": {"longest_edge": 56},
        "do_image_splitting": True,
    }
    processor = {"processor_class": "Idefics3Processor", "image_seq_len": 4, "image_processor": pixels}
    _write(folder, "processor_config.json", processor)
    vocabulary = tokenizer.get_vocab_size()
    _write(folder, "config.json", _idefics3_config(vocabulary))
    _save(folder, _idefics3_shapes(vocabulary))
    return folder


_CHAT = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def _idefics3_config(vocabulary: int) -> dict[str, Any]:
    layers = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_attention_heads": HEADS}
    text = {
        "model_type": "llama",
        **layers,
        "vocab_size": vocabulary,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "eos_token_id": 2,
    }
    vision = {
        "model_type": "idefics3_vision",
        **layers,
        "num_hidden_layers": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    return {
        "architectures": ["Idefics3ForConditionalGeneration"],
        "model_type": "idefics3",
        "image_token_id": 3,
        "pad_token_id": 0,
        "scale_factor": 2,
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": vision,
    }


def _idefics3_shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    text, vision = "model.text_model", "model.vision_model"
    shapes: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (vocabulary, WIDTH),
        "model.connector.modality_projection.proj.weight": (WIDTH, 4 * WIDTH),
        f"{text}.embed_tokens.weight": (vocabulary, WIDTH),
        f"{text}.norm.weight": (WIDTH,),
        f"{vision}.embeddings.patch_embedding.bias": (WIDTH,),
        f"{vision}.embeddings.patch_embedding.weight": (WIDTH, 3, 14, 14),
        f"{vision}.embeddings.position_embedding.weight": (16, WIDTH),
        **_norm(f"{vision}.post_layernorm"),
    }
    for n in range(3):
        layer = f"{text}.layers.{n}"
        shapes |= {f"{layer}.{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
        shapes |= {f"{layer}.mlp.{name}_proj.weight": (INNER, WIDTH) for name in ("gate", "up")}
        shapes |= {f"{layer}.self_attn.{name}_proj.weight": (WIDTH, WIDTH) for name in ("q", "o")}
        shapes |= {f"{layer}.self_attn.{name}_proj.weight": (WIDTH // HEADS, WIDTH) for name in ("k", "v")}
        shapes[f"{layer}.mlp.down_proj.weight"] = (WIDTH, INNER)
    for n in range(2):
        layer = f"{vision}.encoder.layers.{n}"
        shapes |= _norm(f"{layer}.layer_norm1") | _norm(f"{layer}.layer_norm2")
        shapes |= _linear(f"{layer}.mlp.fc1", INNER, WIDTH) | _linear(f"{layer}.mlp.fc2", WIDTH, INNER)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{name}", WIDTH, WIDTH)
    return shapes


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def _save(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Random weights in float32; a norm's gains lie around 1."""
    random = np.random.default_rng(0)
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        gain = "norm" in name.lower() and name.endswith("weight")
        values = random.standard_normal(shape) * (0.1 if gain else _SCALE) + gain
        tensors[name] = values.astype(np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _tokenizer(special: Sequence[str]) -> Tokenizer:
    """One token a byte, behind the special ones."""
    letters = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    return made


def _save_tokenizer(folder: Path, tokenizer: Tokenizer, said: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **said})


def _write(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(json.dumps(value), encoding="utf-8")
