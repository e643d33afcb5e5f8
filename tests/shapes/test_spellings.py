"""Published names: checkpoints are read under every name that loaders take, and nothing else changes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.shapes import in_memory
from tests.checkpoint.headers import write_headers_only
from weightsmith.checkpoint import open_checkpoint
from weightsmith.cli import commands
from weightsmith.shapes import infer
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.page import catalog_types, load_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.page.spellings import Spelling, best
from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.proof import check
from weightsmith.shapes.reference.published import published, spelled

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.shapes.page.page import Page

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "vocab_size": 300,
    "intermediate_size": 96,
}
HEADS: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
LLAVA: dict[str, Any] = {
    "model_type": "llava",
    "architectures": ["LlavaForConditionalGeneration"],
    "text_config": {"model_type": "llama", **SMALL, **HEADS},
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
}


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    meta_models.prepare()
    made = meta_models.config_class(config["model_type"]).from_dict(config)
    return meta_models.build(config["architectures"][0], made).shapes


@pytest.mark.usefixtures("asked_here")
def test_transformers_itself_loads_the_names_that_llava_was_published_under(tmp_path: Path) -> None:
    """The claim behind the spelling: not one tensor is missing, none is left over, and Weightsmith agrees."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    LlavaForConditionalGeneration(LlavaConfig(**LLAVA)).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    written = load_file(file)
    spelling, *_ = load_page("llava").spellings
    renamed = {spelling.write(name): tensor for name, tensor in written.items()}
    assert "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight" in renamed
    save_file(renamed, file, {"format": "pt"})
    model, info = LlavaForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    vision = dict(model.named_parameters())["model.vision_tower.encoder.layers.1.mlp.fc1.weight"]
    assert torch.equal(vision, written["vision_tower.encoder.layers.1.mlp.fc1.weight"])
    checkpoint = open_checkpoint(tmp_path)
    assert infer(checkpoint, LLAVA).verdict == "agrees"
    assert check(LLAVA, checkpoint).holds
    wrong = {**LLAVA, "vision_config": {**LLAVA["vision_config"], "hidden_size": 40}}
    found = infer(checkpoint, wrong)
    assert [(f.name, f.derived) for f in found.changes] == [("vision_config.hidden_size", 32)]
    assert not check(wrong, checkpoint).holds


SOUND = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
QWEN2_AUDIO: dict[str, Any] = {
    "model_type": "qwen2_audio",
    "architectures": ["Qwen2AudioForConditionalGeneration"],
    "text_config": {"model_type": "qwen2", **SMALL, **HEADS},
    "audio_config": {"model_type": "qwen2_audio_encoder", "num_mel_bins": 16, **SOUND},
}
VOXTRAL: dict[str, Any] = {
    "model_type": "voxtral",
    "architectures": ["VoxtralForConditionalGeneration"],
    "text_config": {"model_type": "llama", **SMALL, **HEADS},
    "audio_config": {
        "model_type": "voxtral_encoder",
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
        "num_mel_bins": 16,
    },
}


GRANITE_SPEECH: dict[str, Any] = {
    "model_type": "granite_speech",
    "architectures": ["GraniteSpeechForConditionalGeneration"],
    "has_lora_adapter": False,
    "text_config": {"model_type": "granite", **SMALL, **HEADS},
    "encoder_config": {
        "model_type": "granite_speech_encoder",
        **{
            "hidden_dim": 32,
            "num_layers": 2,
            "num_heads": 2,
            "dim_head": 16,
            "input_dim": 16,
            "output_dim": 12,
        },
    },
    "projector_config": {
        "model_type": "blip_2_qformer",
        **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48},
        "encoder_hidden_size": 32,
    },
}


@pytest.mark.usefixtures("asked_here")
@pytest.mark.parametrize("config", [QWEN2_AUDIO, VOXTRAL, GRANITE_SPEECH], ids=lambda c: c["model_type"])
def test_audio_models_are_read_as_they_were_published(config: dict[str, Any], tmp_path: Path) -> None:
    """transformers undoes one renaming twice when it saves a fresh one, and loads the names of either."""
    import transformers
    from safetensors.torch import load_file, save_file

    cls = getattr(transformers, config["architectures"][0])
    cls(meta_models.config_class(config["model_type"]).from_dict(config)).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    written = load_file(file)
    assert "language_model.model.model.norm.weight" in written
    assert infer(open_checkpoint(tmp_path), config).verdict == "agrees"
    once = {n.replace("language_model.model.model.", "language_model.model."): t for n, t in written.items()}
    save_file(once, file, {"format": "pt"})
    _, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    checkpoint = open_checkpoint(tmp_path)
    assert infer(checkpoint, config).verdict == "agrees" and check(config, checkpoint).holds
    wrong = {**config, "text_config": {**config["text_config"], "intermediate_size": 80}}
    changes = [(f.name, f.derived) for f in infer(checkpoint, wrong).changes]
    assert changes == [("text_config.intermediate_size", SMALL["intermediate_size"])]
    assert infer(checkpoint, None).architecture.model_type == config["model_type"]


@pytest.mark.usefixtures("asked_here")
@pytest.mark.parametrize(
    ("config", "stem", "absent"),
    [
        (
            {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 300},
            "transformer.",
            (),
        ),
        ({"model_type": "qwen3", **SMALL, **HEADS}, "model.", ("lm_head.weight",)),
    ],
)
def test_a_body_that_was_saved_alone_is_its_family_and_the_head_that_it_lacks_is_named(
    config: dict[str, Any], stem: str, absent: tuple[str, ...], tmp_path: Path
) -> None:
    config = {**config, "architectures": list(load_page(config["model_type"]).architectures[:1])}
    shapes = shapes_of(config)
    body = {name.removeprefix(stem): shape for name, shape in shapes.items() if name.startswith(stem)}
    write_headers_only(tmp_path, body)
    checkpoint = open_checkpoint(tmp_path)
    found = infer(checkpoint, config)
    assert found.verdict == "agrees" and found.architecture.model_type == config["model_type"]
    lacking = [p.message for p in found.problems if p.code == "missing-tensors"]
    assert len(lacking) == len(absent) and all(name in lacking[0] for name in absent)
    assert check(config, checkpoint).holds
    own_class = {**config, "architectures": [f"{config['model_type'].upper()}Model"]}
    assert not [f for f in infer(checkpoint, own_class).changes if f.name == "architectures"]
    lost = next(name for name in body if name.endswith("weight") and ".1." in name)
    damaged = infer(in_memory({n: s for n, s in body.items() if n != lost}), config)
    assert damaged.verdict != "agrees" and lost in damaged.architecture.missing_tensors


ASR: dict[str, Any] = {
    "model_type": "qwen3_asr",
    "architectures": ["Qwen3ASRForConditionalGeneration"],
    "text_config": {"model_type": "qwen3", **SMALL, **HEADS, "tie_word_embeddings": True},
    "audio_config": {
        "model_type": "qwen3_asr_encoder",
        **{"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48},
        **{"num_mel_bins": 16, "downsample_hidden_size": 12, "output_dim": 64},
    },
}


def test_qwen3_asr_is_read_with_its_publishers_names_and_config() -> None:
    """A thinker, whose projector is in its audio tower: the names and settings of Qwen3-ASR-1.7B."""
    shapes = shapes_of(ASR)
    assert infer(in_memory(shapes), ASR).verdict == "agrees"
    spelling = next(s for s in load_page("qwen3_asr").spellings if not s.stem)
    names = {spelling.write(name): shape for name, shape in shapes.items()}
    assert {"thinker.model.norm.weight", "thinker.audio_tower.proj2.bias"} <= names.keys()
    thinker = {"text_config": ASR["text_config"], "audio_config": ASR["audio_config"]}
    config = {"model_type": "qwen3_asr", "architectures": ASR["architectures"], "thinker_config": thinker}
    assert infer(in_memory(names), config).verdict == "agrees"
    wrong = {**thinker, "audio_config": {**ASR["audio_config"], "output_dim": 48}}
    changes = infer(in_memory(names), {**config, "thinker_config": wrong}).changes
    assert [(f.name, f.derived) for f in changes] == [("thinker_config.audio_config.output_dim", 64)]


def test_norms_of_the_first_bert_have_the_names_of_their_day() -> None:
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"], **SMALL, "num_attention_heads": 4}
    shapes = shapes_of(config)
    spelling = next(s for s in load_page("bert").spellings if not s.stem)
    old = {spelling.write(name): shape for name, shape in shapes.items()}
    assert "bert.embeddings.LayerNorm.gamma" in old
    found = infer(in_memory(old), {**config, "hidden_size": 60})
    assert [(f.name, f.derived) for f in found.changes] == [("hidden_size", 64)]
    assert infer(in_memory(old), None).architecture.model_type == "bert"


def test_what_training_puts_before_every_name_is_read_through_and_said() -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SMALL, **HEADS}
    shapes = shapes_of(config)
    for prefix in ("module.", "_orig_mod.", "module._orig_mod."):
        found = infer(in_memory({prefix + name: shape for name, shape in shapes.items()}), config)
        assert found.verdict == "agrees" and found.architecture.model_type == "llama"
        assert [p.code for p in found.problems] == ["wrapper-prefix"] and repr(prefix) in found.problems[
            0
        ].message
    assert not infer(in_memory(shapes), config).problems


def test_an_adapter_is_no_model_and_the_way_out_is_named(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    write_headers_only(tmp_path, {name.format("A"): (8, 64), name.format("B"): (64, 8)})
    done = CliRunner().invoke(commands, ["infer-config", str(tmp_path)], standalone_mode=False)
    assert done.return_value == 2
    assert "merge them into its base" in done.output.strip().splitlines()[-1]


def spelled_types() -> list[str]:
    return [t for t in catalog_types() if load_page(t).spellings]


def small_values(page: Page) -> dict[str, Any]:
    """Class defaults, with few layers and experts: names are what is asked here."""
    values = Stated(None, page).completed()
    patterns = next(iter(page.layouts.values()))
    counts = {
        f for p in patterns for slot in p.slots for f in slot.count.fields() - {s.name for s in p.slots}
    }
    return {**values, **{n: 2 for n in counts if type(values.get(n)) is int and values[n] > 4}}


@pytest.mark.parametrize("model_type", random.Random(5).sample(spelled_types(), 30))
def test_every_spelling_reads_back_as_the_page_writes_it(model_type: str) -> None:
    page = load_page(model_type)
    compared = 0
    for patterns in page.layouts.values():
        names = predict(patterns, small_values(page))
        for spelling in page.spellings:
            own = [name for name in names if name.startswith(spelling.stem)]
            disk = [spelling.write(name) for name in own]
            if disk == own:
                continue  # this layout has nothing that is spelled otherwise
            assert [spelling.read(name) for name in disk] == own
            chosen = best(page.spellings, disk, names.keys())
            assert chosen is not None and [chosen.read(name) for name in disk] == own
            compared += 1
    assert compared


def test_pages_have_the_spellings_of_the_installed_transformers() -> None:
    meta_models.prepare()
    for model_type in ("llava", "gpt2", "bert", "deepseek_vl", "qwen3_5_text", "mllama", "voxtral"):
        page = load_page(model_type)
        found = published(page.architectures, meta_models.make_config(model_type, page.base))
        own = page.spellings[: len(found)]  # behind them stand those of names in memory
        assert tuple(map(Spelling.of, found)) == own, f"{model_type}: run `make catalog`"


def test_a_version_whose_renaming_differs_costs_a_page_its_spellings_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """transformers 5.5 has no PrefixChange."""
    from transformers import core_model_loading

    meta_models.prepare()
    config = meta_models.make_config("gpt2", {})
    monkeypatch.delattr(core_model_loading, "PrefixChange")
    assert published(("GPT2LMHeadModel",), config) == [{"": "transformer."}]
    monkeypatch.delattr(core_model_loading, "dot_natural_key")
    assert published(("GPT2LMHeadModel",), config) == []


PARTS = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3), min_size=1, max_size=6), PARTS, PARTS)
def test_a_prefix_that_was_dropped_is_found_and_explains_every_name(
    tails: list[list[str]], owner: str, dropped: str
) -> None:
    ours = [f"{owner}.{'.'.join(tail)}" for tail in tails]
    disk = [f"{owner}.{dropped}.{'.'.join(tail)}" for tail in tails]
    found = spelled(zip(disk, ours, strict=True))
    assert found is None or [found.read(name) for name in disk] == ours
    if all(tail[0] != dropped for tail in tails):
        assert found is not None and found.rewrites == ((f"{owner}.{dropped}.", f"{owner}."),)


def test_names_that_no_one_rewrite_explains_have_no_spelling() -> None:
    assert spelled([("a.x", "a.x")]) is None
    assert spelled([("a.b.x", "a.x"), ("a.b.y", "c.y")]) is None
    assert spelled([("a.0.b.x", "a.0.x"), ("a.1.b.x", "a.1.x")]) is None


@pytest.mark.usefixtures("asked_here")
def test_names_that_a_module_reads_by_code_of_its_own_are_a_spelling() -> None:
    config = meta_models.make_config("mamba", {"num_hidden_layers": 2})
    assert {"backbone.embedding.": "backbone.embeddings."} in published(["MambaForCausalLM"], config)
