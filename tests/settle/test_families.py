"""The heads of many families: the numbers tell them under each family's own names, and a wrong config is corrected."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers as hf

import weightsmith
from weightsmith.shapes.given.config import lookup

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDTH, HEADS = 16, 8
SIZES = {
    "vocab_size": 256, "hidden_size": 128, "num_hidden_layers": 3, "intermediate_size": 256,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
ENCODER_DECODER = {
    "vocab_size": 256, "d_model": 128, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 8,
    "decoder_attention_heads": 8, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
CLIP_TEXT = {"vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
CLIP_VISION = {
    "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 8, "intermediate_size": 256,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
GPT = {"vocab_size": 256, "bos_token_id": 1, "eos_token_id": 2}

# family → (the untrained model, its output projections, the field of its heads).
Family = tuple["Callable[[], Any]", str, str]
FAMILIES: dict[str, Family] = {
    "llama": (
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, num_attention_heads=8, num_key_value_heads=8)),
        r"o_proj\.weight",
        "num_attention_heads",
    ),
    "bert": (
        lambda: hf.BertForMaskedLM(hf.BertConfig(**SIZES, num_attention_heads=8)),
        r"attention\.output\.dense\.weight",
        "num_attention_heads",
    ),
    "gpt2": (
        lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT, n_embd=128, n_layer=3, n_head=8, n_positions=64)),
        r"attn\.c_proj\.weight",
        "n_head",
    ),
    "bloom": (
        lambda: hf.BloomForCausalLM(hf.BloomConfig(**GPT, hidden_size=128, n_layer=3, n_head=8)),
        r"self_attention\.dense\.weight",
        "n_head",
    ),
    "mpt": (
        lambda: hf.MptForCausalLM(hf.MptConfig(**GPT, d_model=128, n_layers=3, n_heads=8)),
        r"attn\.out_proj\.weight",
        "n_heads",
    ),
    "distilbert": (
        lambda: hf.DistilBertForMaskedLM(
            hf.DistilBertConfig(vocab_size=256, dim=128, n_layers=3, n_heads=8, hidden_dim=256)
        ),
        r"attention\.out_lin\.weight",
        "n_heads",
    ),
    "modernbert": (
        lambda: hf.ModernBertForMaskedLM(
            hf.ModernBertConfig(**SIZES, num_attention_heads=8, cls_token_id=1, sep_token_id=2)
        ),
        r"attn\.Wo\.weight",
        "num_attention_heads",
    ),
    "bart": (
        lambda: hf.BartForConditionalGeneration(hf.BartConfig(**ENCODER_DECODER)),
        r"out_proj\.weight",
        "encoder_attention_heads",
    ),
    "clip": (
        lambda: hf.CLIPModel(
            hf.CLIPConfig(text_config=CLIP_TEXT, vision_config=CLIP_VISION, projection_dim=64)
        ),
        r"vision_model\.encoder.*out_proj\.weight",
        "vision_config.num_attention_heads",
    ),
    "whisper": (
        lambda: hf.WhisperForConditionalGeneration(hf.WhisperConfig(**ENCODER_DECODER)),
        r"out_proj\.weight",
        "decoder_attention_heads",
    ),
}


def trained(name: str, folder: Path) -> Path:
    """The model with heads of different sizes, as training leaves them."""
    make, outputs, _ = FAMILIES[name]
    torch.manual_seed(0)
    model = make()
    draw = torch.Generator().manual_seed(1)
    for named, weight in model.named_parameters():
        if re.search(outputs, named):
            size = torch.exp(0.4 * torch.randn(HEADS, generator=draw)).repeat_interleave(WIDTH)
            taken = size[:, None] if name == "gpt2" else size[None, :]  # GPT-2 stores [in, out]
            weight.data = torch.randn(weight.shape, generator=draw) * 0.02 * taken
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_the_numbers_tell_its_heads_and_correct_a_config_that_has_others(name: str, tmp_path: Path) -> None:
    folder = trained(name, tmp_path)
    field = FAMILIES[name][2]
    sound = weightsmith.infer(folder, values=True)
    assert sound.verdict == "agrees"
    row = next(row for row in sound.fields if row.name == field)
    assert (row.basis, row.derived) == ("values", HEADS)
    config = json.loads((folder / "config.json").read_text())
    section, _, last = field.rpartition(".")
    (config[section] if section else config)[last] = HEADS // 2
    config.pop("head_dim", None)
    if "num_key_value_heads" in config:
        config["num_key_value_heads"] = HEADS // 2
    (folder / "config.json").write_text(json.dumps(config))
    wrong = weightsmith.infer(folder, values=True)
    assert wrong.verdict == "differs"
    row = next(row for row in wrong.fields if row.name == field)
    assert (row.configured, row.derived, row.status, row.basis) == (HEADS // 2, HEADS, "differs", "values")
    assert lookup(wrong.config, field) == (True, HEADS)
