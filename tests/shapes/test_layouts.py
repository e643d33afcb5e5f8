"""Experts joined in one tensor, the other way round, or one by one: the same weights, and the same config."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shapes.predicted import predicted, table
from tests.shapes.test_memory_names import in_memory_shapes
from weightsmith.shapes import infer
from weightsmith.shapes.page.layouts import one_by_one, stored_layouts
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.reference.proof import check

Shapes = dict[str, tuple[int, ...]]
MIXTRAL: dict[str, Any] = {
    "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 120,
    "num_local_experts": 4,
}  # fmt: skip
QWEN_VL: dict[str, Any] = {
    "model_type": "qwen3_vl_moe", "architectures": ["Qwen3VLMoeForConditionalGeneration"],
    "text_config": {"model_type": "qwen3_vl_moe_text", "hidden_size": 48, "intermediate_size": 80,
                    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                    "moe_intermediate_size": 40, "num_experts": 6, "vocab_size": 300, "mlp_only_layers": [1]},
    "vision_config": {"model_type": "qwen3_vl_moe", "depth": 3, "hidden_size": 32, "intermediate_size": 56,
                      "num_heads": 2, "out_hidden_size": 48, "patch_size": 4, "num_position_embeddings": 36,
                      "deepstack_visual_indexes": [0, 2]},
}  # fmt: skip


def turned(shapes: Shapes) -> Shapes:
    return {n: (s[0], s[2], s[1]) if ".experts." in n and len(s) == 3 else s for n, s in shapes.items()}


def split(shapes: Shapes) -> Shapes:
    found: Shapes = {}
    for name, shape in shapes.items():
        stem, _, last = name.rpartition(".")
        if last == "gate_up_proj" and len(shape) == 3:
            halves = shape[1] // 2, shape[2]
            found |= {
                f"{stem}.{e}.{part}.weight": halves
                for e in range(shape[0])
                for part in ("gate_proj", "up_proj")
            }
        elif last == "down_proj" and len(shape) == 3:
            found |= {f"{stem}.{e}.down_proj.weight": shape[1:] for e in range(shape[0])}
        else:
            found[name] = shape
    return found


def same(shapes: Shapes) -> Shapes:
    return shapes


@pytest.mark.parametrize("layout", [same, turned, split])
def test_experts_in_any_layout_are_read_counted_and_proven(layout: Any) -> None:
    checkpoint = table(layout(in_memory_shapes(QWEN_VL)))
    assert infer(checkpoint, QWEN_VL).verdict == "agrees"
    assert check(QWEN_VL, checkpoint).holds
    text = {**QWEN_VL["text_config"], "num_experts": 3, "moe_intermediate_size": 80}
    changes = {row.name: row.derived for row in infer(checkpoint, {**QWEN_VL, "text_config": text}).changes}
    assert changes == {"text_config.num_experts": 6, "text_config.moe_intermediate_size": 40}


def test_experts_that_a_class_joins_in_memory_are_read_under_the_names_that_they_have_there() -> None:
    shapes = in_memory_shapes(MIXTRAL)
    assert shapes["model.layers.0.mlp.experts.gate_up_proj"] == (4, 96, 32)
    checkpoint = table(shapes)
    assert infer(checkpoint, MIXTRAL).verdict == "agrees" and check(MIXTRAL, checkpoint).holds
    assert infer(checkpoint, None).architecture.model_type == "mixtral"
    (row,) = infer(checkpoint, {**MIXTRAL, "num_local_experts": 8}).changes
    assert (row.name, row.derived) == ("num_local_experts", 4)
    assert {seen.tensor for seen in row.evidence} <= shapes.keys(), "told by tensors that are stored"


def test_what_is_lost_is_named_as_the_file_would_have_it() -> None:
    name = "model.layers.1.mlp.experts.down_proj"
    rest = {n: s for n, s in in_memory_shapes(MIXTRAL).items() if n != name}
    assert infer(table(rest), MIXTRAL).architecture.missing_tensors == (name,)


def test_a_layout_is_made_only_where_shapes_divide() -> None:
    page = load_page("mixtral")
    assert set(page.layouts) == {"", "joined"}
    (own, *_) = load_page("qwen3_vl_moe").layouts.values()
    assert one_by_one(own, {".experts.down_proj": stored_layouts().parts[".experts.gate_up_proj"]}) is None
    assert one_by_one(page.layouts[""], stored_layouts().parts) is None


def test_of_two_families_that_have_the_tensors_the_one_that_saves_them_so_is_meant() -> None:
    """Mistral 4 has DeepSeek-V2's attention and experts, and saves the experts joined."""
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "moe_intermediate_size": 40,
        "num_hidden_layers": 3,
        "vocab_size": 120,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_shared_experts": 2,
        "kv_lora_rank": 24,
        "q_lora_rank": None,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        "first_k_dense_replace": 1,
    }
    shapes = predicted({"model_type": "deepseek_v2", **sizes})
    assert any(".experts.0." in name for name in shapes)
    found = infer(table(shapes), None)
    assert found.config["model_type"] == "deepseek_v2"
    assert found.config["architectures"] == ["DeepseekV2ForCausalLM"]
