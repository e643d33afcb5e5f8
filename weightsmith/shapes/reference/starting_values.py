"""Types whose class defaults do not build by themselves (transformers 5.19), and the settings that they need.

And settings with which a class does not come to an end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.shapes.page.value import Value

_ROPE: dict[str, Value] = {"rope_type": "default", "rope_theta": 10000.0}
# Sections of 0 fit every head width; the class's own fit heads of 128 channels only.
_ROPE_SECTIONS: dict[str, Value] = {
    kind: {**_ROPE, "mrope_section": (0, 0, 0)} for kind in ("full_attention", "sliding_attention")
}
_INDEXER: dict[str, Value] = {
    "indexer_budget": 2048,
    "indexer_compress_ratio": 16,
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 256,
}
_GEMMA4_DRAFT: dict[str, Value] = {
    "text_config.hidden_size_per_layer_input": 0,
    "text_config.vocab_size_per_layer_input": 0,
}
# Sizes without which the class refuses its own switch for experts.
_GEMMA4_EXPERTS: dict[str, Value] = {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 704}
_CROSS: dict[str, Value] = {"decoder.add_cross_attention": True, "decoder.is_decoder": True}
_MUSIC: dict[str, Value] = {"text_encoder.model_type": "t5", "audio_encoder.model_type": "encodec"}
STARTS: dict[str, dict[str, Value]] = {
    "aria": {"text_config.model_type": "aria_text", "vision_config.model_type": "idefics3_vision"},
    "aya_vision": {"vision_config.num_attention_heads": 16},
    "bert": {"is_decoder": True},
    "chameleon": {"vocabulary_map": {"<image>": 1}},
    "cohere_compass": {"text_config.rope_parameters": _ROPE_SECTIONS},
    "cohere_compass_text": {"rope_parameters": _ROPE_SECTIONS},
    "dbrx": {"attn_config.rope_theta": 10000.0},
    "deepseek_ocr2": {
        "text_config.num_hidden_layers": 12,
        "text_config.mlp_layer_types": ("dense", *["sparse"] * 11),
    },
    "diffusion_gemma": {
        **{f"text_config.{name}": value for name, value in _GEMMA4_EXPERTS.items()},
        "vision_config.model_type": "gemma4_vision",
    },
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 8},
    "emu3": {"vocabulary_map": {"<image>": 1}},
    "encoder-decoder": {"encoder.model_type": "bert", "decoder.model_type": "bert", **_CROSS},
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    # The class's own tower, stated: a config that says anything about it is given another one by default.
    "fast_vlm": {
        "vision_config.model_type": "timm_wrapper",
        "vision_config.architecture": "fastvit_mci3",
        "vision_config.do_pooling": True,
        "vision_config.global_pool": "avg",
        "vision_config.hidden_size": 3072,
        "vision_config.model_args.inference_mode": True,
    },
    "gemma4": {f"text_config.{name}": value for name, value in _GEMMA4_EXPERTS.items()},
    "gemma4_assistant": {"text_config.model_type": "gemma4_text", **_GEMMA4_DRAFT},
    "gemma4_text": _GEMMA4_EXPERTS,
    "gemma4_unified": {"text_config.model_type": "gemma4_unified_text"},
    "gemma4_unified_assistant": {"text_config.model_type": "gemma4_unified_text", **_GEMMA4_DRAFT},
    "granite4_vision": {
        "text_config.model_type": "granite",
        "deepstack_layer_map": ((-1, 0),),
        "downsample_rate": "1/2",
    },
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "hunyuan_vl": {"text_config.head_dim": 128},
    "idefics3": {"pad_token_id": 0},
    "lfm2_moe": {"layer_types": ("conv", "conv", "full_attention", "conv") * 8},
    "ministral": {"head_dim": 128},
    "musicgen": {**_MUSIC, "decoder.model_type": "musicgen_decoder"},
    "musicgen_melody": {**_MUSIC, "decoder.model_type": "musicgen_melody_decoder"},
    "nemotron": {"num_key_value_heads": 8},
    # What its published checkpoints state; the class's own default names a tower without that argument.
    "perception_lm": {
        "vision_config.architecture": "vit_pe_core_large_patch14_336",
        "vision_config.model_args.depth": 23,
        "vision_config.model_args.embed_dim": 1024,
        "vision_config.model_args.global_pool": "",
        "vision_config.model_args.img_size": (448, 448),
        "vision_config.model_args.init_values": 0.1,
        "vision_config.model_args.ref_feat_shape": (32, 32),
        "vision_config.model_args.use_post_transformer_norm": False,
    },
    "qwen4_exp": {f"text_config.{name}": value for name, value in _INDEXER.items()},
    "qwen4_exp_text": _INDEXER,
    "reformer": {"is_decoder": True},
    "smolvlm": {"pad_token_id": 0},
    "speech-encoder-decoder": {"encoder.model_type": "wav2vec2", "decoder.model_type": "bert", **_CROSS},
    "vision-encoder-decoder": {"encoder.model_type": "vit", "decoder.model_type": "gpt2", **_CROSS},
}
# With these a constructor never ends, so they are not built: a number without prime factors is divided forever.
ENDLESS: dict[str, dict[str, Value]] = {
    "inkling_mm_model": {"vision_config.patch_size": 0, "vision_config.temporal_patch_size": 0},
}
