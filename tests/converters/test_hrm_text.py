"""hrm-text moves rows between two layouts; back and forth gives the same bytes, and transformers loads both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.values.making import latent_llama, save
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real HRM-Text model with biases, saved by transformers in the publisher's layout."""
    from transformers import HrmTextConfig, HrmTextForCausalLM

    torch.manual_seed(0)
    config = HrmTextConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=4,
        num_layers_per_stack=2,
        num_hidden_layers=16,
        head_dim=8,
        H_cycles=2,
        L_cycles=3,
        attention_bias=True,
        mlp_bias=True,
    )
    folder = tmp_path_factory.mktemp("hrm") / "published"
    HrmTextForCausalLM(config).save_pretrained(folder)
    return folder


def split(source: Path, target: Path) -> Path:
    convert(source, target, converter="hrm-text", options={"layout": "split"})
    return target


def test_there_and_back_gives_the_same_bytes(published: Path, tmp_path: Path) -> None:
    split(published, tmp_path / "split")
    result = convert(tmp_path / "split", tmp_path / "fused")
    assert result.converter == "hrm-text"
    assert "split layout" in result.reason
    original, back = published / "model.safetensors", tmp_path / "fused/model.safetensors"
    assert load_file(original).keys() == load_file(back).keys()
    assert back.read_bytes() == original.read_bytes()


def test_the_trained_model_survives_the_round_trip(tmp_path: Path) -> None:
    split(MODELS / "hrm-text", tmp_path / "split")
    convert(tmp_path / "split", tmp_path / "fused", converter="hrm-text", options={"layout": "fused"})
    original = MODELS / "hrm-text/model.safetensors"
    assert (tmp_path / "fused/model.safetensors").read_bytes() == original.read_bytes()


def test_the_split_names_are_the_models_own(published: Path, tmp_path: Path) -> None:
    """The names and values of the running model's state dict are what the split layout has."""
    from transformers import HrmTextForCausalLM

    loaded = load_file(split(published, tmp_path / "split") / "model.safetensors")
    state = HrmTextForCausalLM.from_pretrained(published).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_transformers_computes_the_same_from_both_layouts(published: Path, tmp_path: Path) -> None:
    from transformers import HrmTextForCausalLM

    ids = torch.arange(12).reshape(1, 12)
    logits = []
    for folder in (published, split(published, tmp_path / "split")):
        model, report = HrmTextForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        with torch.no_grad():
            logits.append(model.eval()(ids).logits)
    assert torch.equal(*logits)


def test_counts_say_what_was_made(published: Path, tmp_path: Path) -> None:
    result = convert(published, tmp_path / "split", converter="hrm-text", options={"layout": "split"})
    # Four layers: each fused pair of tensors becomes four and two; everything else is copied.
    assert (result.tensors.created, result.tensors.converted, result.tensors.dropped) == (4 * 6, 0, 0)
    assert result.tensors.copied == len(open_checkpoint(published).tensors) - 4 * 2


def test_converting_to_the_layout_that_it_has_copies(published: Path, tmp_path: Path) -> None:
    result = convert(published, tmp_path / "out", converter="hrm-text", options={"layout": "fused"})
    assert result.tensors.created == 0
    assert (tmp_path / "out/model.safetensors").read_bytes() == (published / "model.safetensors").read_bytes()


def test_a_cast_goes_along_with_the_layout(published: Path, tmp_path: Path) -> None:
    convert(
        published, tmp_path / "split", converter="hrm-text", options={"layout": "split"}, dtype="bfloat16"
    )
    convert(tmp_path / "split", tmp_path / "fused", converter="hrm-text")
    convert(published, tmp_path / "cast", converter="plain", dtype="bfloat16")
    assert (tmp_path / "fused/model.safetensors").read_bytes() == (
        tmp_path / "cast/model.safetensors"
    ).read_bytes()


def altered(source: Path, target: Path, change: str) -> Path:
    tensors = load_file(source / "model.safetensors")
    name = next(n for n in tensors if n.endswith("self_attn.k_proj.weight"))
    if change == "missing":
        del tensors[name]
    elif change == "shape":
        tensors[name] = tensors[name][:-1].clone()
    elif change == "dtype":
        tensors[name] = tensors[name].half()
    elif change == "first missing":
        del tensors[name.replace("k_proj", "gate_proj")]
    target.mkdir()
    save_file(tensors, target / "model.safetensors")
    return target


@pytest.mark.parametrize("change", ["missing", "shape", "dtype", "first missing"])
def test_parts_that_do_not_fit_are_refused(published: Path, tmp_path: Path, change: str) -> None:
    source = altered(split(published, tmp_path / "split"), tmp_path / "source", change)
    with pytest.raises(ConversionRefused, match=r"k_proj|gate_proj"):
        convert(source, tmp_path / "out", converter="hrm-text")
    assert not (tmp_path / "out").exists()


def test_rows_that_make_no_equal_parts_are_refused(tmp_path: Path) -> None:
    name = "model.H_module.layers.0.attn.gqkv_proj.weight"
    source = save(tmp_path / "source", {name: torch.ones(10, 4)})
    with pytest.raises(ConversionRefused, match="10 rows"):
        convert(source, tmp_path / "out", converter="hrm-text", options={"layout": "split"})


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match="no HRM-Text"):
        convert(save(tmp_path / "source", latent_llama()), tmp_path / "out", converter="hrm-text")


def test_an_unknown_layout_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match="choose fused or split"):
        convert(published, tmp_path / "out", converter="hrm-text", options={"layout": "both"})
