"""What a publisher calls a model stands until a tensor speaks against it, and a part of a fit replaces no claim."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shapes.reference import tensor
from tests.shapes.test_packed import CONFIG, in_memory, plain
from weightsmith.shapes import infer
from weightsmith.shapes.family.publisher import stands
from weightsmith.shapes.page.page import load_page


def read(shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None) -> Any:
    return infer(in_memory({name: tensor(name, shape) for name, shape in shapes.items()}), config)


PANGU = {
    **CONFIG,
    "model_type": "PanguEmbedded",
    "architectures": ["PanguEmbeddedForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_openpangu_dense.PanguEmbeddedConfig",
        "AutoModelForCausalLM": "modeling_openpangu_dense.PanguEmbeddedForCausalLM",
    },
    "bias": False,
}


def test_a_class_of_somebodys_own_keeps_its_name_and_its_code_is_named() -> None:
    found = read(plain(), PANGU)
    assert found.verdict == "agrees" and found.config == PANGU
    (said,) = (p.message for p in found.problems if p.code == "own-class")
    assert "'PanguEmbedded'" in said and "modeling_openpangu_dense" in said and "those of llama" in said


def test_what_a_class_of_somebodys_own_leaves_out_is_not_added() -> None:
    config = {name: value for name, value in PANGU.items() if name not in ("head_dim", "intermediate_size")}
    assert read(plain(), config).config == config
    (wrong,) = read(plain(), {**config, "num_hidden_layers": 9}).changes
    assert (wrong.name, wrong.derived) == ("num_hidden_layers", 2)


@pytest.mark.parametrize(
    ("model_type", "stated", "right"),
    [
        ("phimoe", "PhimoeForCausalLM", True),
        ("phimoe", "PhiMoEForCausalLM", True),  # as it was published, and as vLLM registers it
        ("llama", "LLaMAForCausalLM", True),  # the first conversion of LLaMA
        ("llama", "IQuestCoderForCausalLM", True),  # an engine's other name for the class
        ("llama", "Qwen3ForCausalLM", False),
    ],
)
def test_a_class_name_is_replaced_only_where_it_is_another_familys(
    model_type: str, stated: str, right: bool
) -> None:
    assert stands([stated], load_page(model_type)) is right


def test_no_other_family_is_taken_while_tensors_are_left_over_or_missing() -> None:
    shapes = plain()
    odd = {
        name: (*shape[:-1], shape[-1] + 1) if name.endswith("q_proj.weight") else shape
        for name, shape in shapes.items()
    }
    found = read({**odd, "model.layers.0.self_attn.q_norm.weight": (32,)}, CONFIG)
    assert found.verdict == "unknown" and found.config == CONFIG
    assert found.nearest[0].startswith("llama: "), "the claimed family's own objection comes first"


def test_without_a_config_no_family_is_taken_that_some_tensors_are_not_of() -> None:
    assert read(plain(), None).verdict == "guessed"
    assert read({**plain(), "model.layers.0.self_attn.gate_scale": (3,)}, None).verdict == "unknown"


def test_names_of_nobody_never_make_a_model_of_no_layers() -> None:
    inner = {name.replace("model.layers.", "decoder.blocks."): shape for name, shape in plain().items()}
    for config in (CONFIG, None):
        assert read(inner, config).verdict == "unknown"


def test_the_class_of_a_family_that_no_tensor_tells_from_the_stated_one_stands() -> None:
    config = {**CONFIG, "architectures": ["MistralForCausalLM"]}
    found = read(plain(), config)
    assert found.config["architectures"] == ["MistralForCausalLM"] and found.verdict == "agrees"
    assert read(plain(), {**config, "architectures": ["Qwen3ForCausalLM"]}).verdict == "differs"
