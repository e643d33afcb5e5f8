"""What is no model is named as what it is, whatever its config claims, and nothing is derived of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.shapes.reference import tensor
from tests.shapes.test_packed import CONFIG, in_memory, plain
from weightsmith.shapes import infer

if TYPE_CHECKING:
    from weightsmith.shapes import Inference

Shapes = dict[str, tuple[int, ...]]
H, M, V = 64, 96, 300


def read(shapes: Shapes, config: dict[str, Any] | None = None) -> Inference:
    return infer(in_memory({name: tensor(name, shape) for name, shape in shapes.items()}), config)


def layer(prefix: str, width: int = H) -> Shapes:
    """A decoder layer whose attention reads `width` columns."""
    found: Shapes = {f"{prefix}self_attn.{p}_proj.weight": (H, width) for p in "qkv"}
    found |= {f"{prefix}self_attn.o_proj.weight": (H, H), f"{prefix}post_attention_layernorm.weight": (H,)}
    return found | {
        f"{prefix}mlp.{p}_proj.weight": s for p, s in (("gate", (M, H)), ("up", (M, H)), ("down", (H, M)))
    }


def adapted(base: bool) -> Shapes:
    found: Shapes = {}
    for name, shape in plain().items():
        stem = "base_model.model." + name.removesuffix("weight")
        if "q_proj" in name:
            found |= {
                stem + "lora_A.default.weight": (4, shape[1]),
                stem + "lora_B.default.weight": (shape[0], 4),
            }
            if base:
                found[stem + "base_layer.weight"] = shape
        elif base:
            found["base_model.model." + name] = shape
    return found


def packed_by_quanto() -> Shapes:
    found: Shapes = {}
    for name, shape in plain().items():
        packed = {f"{name}._data": shape, f"{name}._scale": (shape[0], 1)}
        found |= packed if name.endswith("_proj.weight") else {name: shape}
    return found


SPECULATOR = (("emb", (V, H)), ("proj", (H, H)), ("head", (V, H)), ("ln", (H,)))
LAST = "model.layers.61."
TWO = {**layer("layers.0."), **layer("layers.1.")}
WIDE = {"norm.weight": (H,), **layer("midlayer.", 2 * H)}
DRAFTS: dict[str, Shapes] = {
    "eagle": {"embed_tokens.weight": (V, H), "fc.weight": (H, 2 * H), "fc.bias": (H,), **layer("layers.0.")},
    "eagle of two layers": {"model.fc.weight": (H, 2 * H), **{f"model.{n}": s for n, s in TWO.items()}},
    "eagle-3": {"fc.weight": (H, 3 * H), "d2t": (V,), "t2d": (V,), **WIDE},
    "eagle-3 with the whole vocabulary": {"fc.weight": (H, 3 * H), **WIDE},
    "block diffusion": {"fc.weight": (H, 5 * H), "hidden_norm.weight": (H,), **TWO},
    "medusa": {
        "0.0.linear.weight": (H, H),
        "0.1.weight": (V, H),
        "1.0.linear.weight": (H, H),
        "1.1.weight": (V, H),
    },
    "medusa, renamed": {"blocks.0.layers.0.weight": (H, H), "lm_heads.0.weight": (V, H)},
    "mlp speculator": {f"speculator.{part}.0.weight": shape for part, shape in SPECULATOR},
    "layers behind the last": {
        f"{LAST}eh_proj.weight": (H, 2 * H),
        f"{LAST}embed_tokens.weight": (V, H),
        **layer(LAST),
    },
    "mtp": {"mtp.fc.weight": (H, 2 * H), "mtp.norm.weight": (H,), **layer("mtp.layers.0.")},
}


@pytest.mark.parametrize("name", DRAFTS)
def test_a_draft_is_named_whatever_its_config_claims(name: str) -> None:
    for config in (None, CONFIG):
        found = read(DRAFTS[name], config)
        assert found.verdict == "unknown" and [p.code for p in found.problems] == ["draft-head"]
        error = found.failure()
        assert error is not None and "draft" in error.fact and "--speculative-config" in error.way_out


def test_a_model_that_a_tool_for_drafts_wrote_says_so_itself() -> None:
    config = {**CONFIG, "speculators_model_type": "eagle3"}
    assert [p.code for p in read(plain(), config).problems] == ["draft-head"]


def test_a_whole_model_with_its_draft_layers_is_a_model() -> None:
    drafts = {"mtp.fc.weight": (H, 2 * H), "mtp.norm.weight": (H,), **layer("mtp.layers.0.")}
    assert read({**plain(), **drafts}, CONFIG).verdict == "agrees"


def test_lora_matrices_beside_their_base_are_to_be_merged_and_alone_are_an_adapter() -> None:
    beside, alone = (
        read(adapted(base=True), CONFIG).failure(),
        read(adapted(base=False), CONFIG).failure(),
    )
    assert (
        beside is not None and "beside the matrices of the base" in beside.fact and "merge" in beside.way_out
    )
    assert alone is not None and "no model" in alone.fact and "no model" not in beside.fact


def test_a_save_of_tensors_that_were_not_gathered_is_no_small_model() -> None:
    for kept in (1, 0):  # norms are small enough for ZeRO-3 to keep them whole
        shapes = {name: shape if len(shape) <= kept else (0,) for name, shape in plain().items()}
        error = read(shapes, CONFIG).failure()
        assert error is not None and "no elements" in error.fact


Q = "model.layers.0.self_attn.q_proj."


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (packed_by_quanto(), "quanto"),
        ({**plain(), f"{Q}W_q": (8, 8)}, "HQQ"),
        ({**plain(), f"{Q}codes": (8, 8), f"{Q}codebooks": (2, 8)}, "AQLM"),
    ],
)
def test_a_packing_that_no_scheme_undoes_is_named(shapes: Shapes, words: str) -> None:
    error = read(shapes, CONFIG).failure()
    assert error is not None and words in error.fact


def test_widths_of_its_own_in_every_layer_speak_against_the_family_that_the_config_claims() -> None:
    shapes = {n: (s[0] - 8, *s[1:]) if "layers.1.mlp.up" in n else s for n, s in plain().items()}
    found = read(shapes, CONFIG)
    assert found.verdict == "unknown" and found.nearest[0].startswith("llama: ") and found.config == CONFIG
