"""ternary fuses what is latent, with the right group size, and refuses everything else with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.values.making import (
    CONFIG,
    QUANTIZER,
    fused_llama,
    is_fusable,
    latent_llama,
    save,
    save_bin,
    torch_fuse,
)
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused
from weightsmith.values.value_survey import survey_values

MODELS = Path(__file__).parent.parent / "models"
UP = "model.layers.0.mlp.up_proj.weight"


def claimed(folder: Path, tensors: dict[str, torch.Tensor] | None = None, code: str = QUANTIZER) -> Path:
    save_bin(folder, tensors or latent_llama())
    (folder / "modeling_x.py").write_text(code)
    return folder


def test_latent_weights_with_a_quantizer_beside_them_are_fused_by_themselves(tmp_path: Path) -> None:
    result = convert(claimed(tmp_path / "source"), tmp_path / "out")
    assert result.converter == "ternary"
    assert "SteTernaryQuantizer" in result.reason
    assert result.options == {"group_size": 128}
    assert (result.tensors.converted, result.tensors.copied) == (6, 5)
    fusion = survey_values(open_checkpoint(tmp_path / "out")).fusion
    assert (fusion.state, fusion.group_size) == ("fused", 128)


@pytest.mark.parametrize("group", [16, 64, 128, -1])
def test_only_linear_weights_change_and_only_as_the_formula_says(tmp_path: Path, group: int) -> None:
    tensors = latent_llama()
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.randn(256).bfloat16()
    source = save(tmp_path / "source", tensors)
    convert(source, tmp_path / "out", converter="ternary", options={"group_size": str(group)})
    loaded = load_file(tmp_path / "out/model.safetensors")
    for name, tensor in tensors.items():
        expected = torch_fuse(tensor, group) + 0.0 if is_fusable(name) else tensor  # + 0.0: no negative zeros
        steps = (loaded[name].view(torch.int16).int() - expected.view(torch.int16).int()).abs().max()
        assert steps <= (1 if is_fusable(name) else 0), name
        if is_fusable(name):
            assert not (loaded[name].view(torch.int16) == -32768).any()


def test_the_scale_is_rounded_once_whatever_dtype_is_asked_for(tmp_path: Path) -> None:
    """bf16 latent weights written as float32 keep a float32 scale, not a bf16 one widened."""
    source = claimed(tmp_path / "source")
    convert(source, tmp_path / "out", dtype="float32")
    loaded = load_file(tmp_path / "out/model.safetensors")
    assert {t.dtype for t in loaded.values()} == {torch.float32}
    latent = latent_llama()[UP].double().reshape(512, -1, 128)
    scales = latent.abs().mean(dim=-1).float()
    assert torch.equal(loaded[UP].reshape(512, -1, 128).amax(dim=-1), scales)
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == "float32"


def test_float32_latent_weights_are_fused_too(tmp_path: Path) -> None:
    source = claimed(tmp_path / "source", latent_llama(dtype=torch.float32))
    convert(source, tmp_path / "out", dtype="bfloat16")
    assert survey_values(open_checkpoint(tmp_path / "out")).fusion.group_size == 128


@pytest.mark.parametrize("converter", ["ternary", None])
@pytest.mark.parametrize("group", [128, -1])
def test_fused_weights_are_never_fused_again(tmp_path: Path, group: int, converter: str | None) -> None:
    source = claimed(tmp_path / "source", fused_llama(group))
    if converter is None:
        assert convert(source, tmp_path / "out").converter == "plain"
        return
    with pytest.raises(ConversionRefused, match=f"fused already, group size {group}.*shrink every scale"):
        convert(source, tmp_path / "out", converter=converter, options={"group_size": "128"})


def test_fusing_twice_would_shrink_the_scales(tmp_path: Path) -> None:
    """Why it is refused: the mean of a fused group counts its zeros."""
    once = torch_fuse(latent_llama()[UP], 128)
    twice = torch_fuse(once, 128)
    assert 0.6 < (twice.float().abs().max() / once.float().abs().max()).item() < 0.8


def test_one_fused_tensor_among_latent_ones_is_enough_to_refuse(tmp_path: Path) -> None:
    tensors = {**latent_llama(), UP: fused_llama(128)[UP]}
    with pytest.raises(ConversionRefused, match="mixed already"):
        convert(claimed(tmp_path / "source", tensors), tmp_path / "out", converter="ternary")


def test_an_unknown_group_size_stops_with_what_was_looked_at(tmp_path: Path) -> None:
    source = claimed(tmp_path / "source", code="class TernaryQuantizer: ...\n")
    (source / "README.md").write_text("Ternary weights.\n")
    with pytest.raises(ConversionRefused) as refusal:
        convert(source, tmp_path / "out")
    text = str(refusal.value)
    for word in ("modeling_x.py", "README.md", "config.json", "--set group_size="):
        assert word in text
    assert not (tmp_path / "out").exists()
    result = convert(source, tmp_path / "out", options={"group_size": "64"})
    assert result.options == {"group_size": 64}


def test_contradicting_group_sizes_stop_with_both(tmp_path: Path) -> None:
    source = claimed(tmp_path / "source")
    (source / "README.md").write_text("Ternary weights: `--quant_type ternary --group_size -1`\n")
    with pytest.raises(
        ConversionRefused, match=r"README\.md:1.*modeling_x\.py:8|modeling_x\.py:8.*README\.md:1"
    ):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize("given", ["0", "-2", "many", "1.5", ""])
def test_what_is_no_group_size_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConversionRefused, match="group_size"):
        convert(claimed(tmp_path / "source"), tmp_path / "out", options={"group_size": given})


def test_a_group_size_that_does_not_divide_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match=r"q_proj\.weight.*256 channels.*groups of 96"):
        convert(claimed(tmp_path / "source"), tmp_path / "out", options={"group_size": "96"})


def test_damaged_weights_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    tensors = latent_llama()
    tensors[UP][300, 7] = float("nan")
    with pytest.raises(ConversionRefused, match=f"{UP}.*NaN"):
        convert(claimed(tmp_path / "source", tensors), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_without_linear_weights_there_is_nothing_to_fuse(tmp_path: Path) -> None:
    source = save(tmp_path / "source", {"model.norm.weight": torch.ones(4)})
    with pytest.raises(ConversionRefused, match="no linear weight"):
        convert(source, tmp_path / "out", converter="ternary", options={"group_size": "16"})


def test_the_quantizing_code_is_left_behind_and_unhooked(tmp_path: Path) -> None:
    """With it, `trust_remote_code` would quantize the fused weights a second time."""
    source = claimed(tmp_path / "source")
    (source / "tokenization_x.py").write_text("class Tokenizer: ...\n")
    auto_map = {
        "AutoModelForCausalLM": "modeling_x.LlamaForCausalLM",
        "AutoTokenizer": "tokenization_x.Tokenizer",
    }
    (source / "config.json").write_text(json.dumps({**CONFIG, "auto_map": auto_map}))
    result = convert(source, tmp_path / "out")
    assert not (tmp_path / "out/modeling_x.py").exists()
    assert (tmp_path / "out/tokenization_x.py").exists()
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["auto_map"] == {"AutoTokenizer": "tokenization_x.Tokenizer"}
    assert "modeling_x.py" in result.left_out
    assert any("modeling_x.py" in note for note in result.notes)
    assert "auto_map.AutoModelForCausalLM" in [change.name for change in result.config_changes]


def test_ordinary_weights_are_not_taken_for_ternary(tmp_path: Path) -> None:
    result = convert(save(tmp_path / "source", latent_llama()), tmp_path / "out")
    assert result.converter == "plain"


def test_the_trained_model_gets_the_weights_that_its_quantizer_computes_with(tmp_path: Path) -> None:
    """The model's own quantizer, run on the latent weights, gives the fused ones: codes all, scales within a step."""
    source = MODELS / "ternary-llama"
    result = convert(source, tmp_path / "out")
    assert (result.converter, result.options) == ("ternary", {"group_size": 128})
    truth = json.loads((MODELS / "ternary-llama.true-config.json").read_text())
    written = json.loads((tmp_path / "out/config.json").read_text())
    assert written == truth
    namespace: dict[str, object] = {}
    exec((source / "modeling_ternary.py").read_text(), namespace)  # our own file, and the reference here
    quantizer = namespace["SteTernaryQuantizer"](group_size=128)  # type: ignore[operator]
    latent = torch.load(source / "pytorch_model.bin", weights_only=True)
    fused = load_file(tmp_path / "out/model.safetensors")
    differing = 0
    for name, weight in latent.items():
        if not is_fusable(name):
            assert torch.equal(fused[name], weight)
            continue
        reference = quantizer.quantize(weight.float()).bfloat16()
        steps = fused[name].abs().view(torch.int16).int() - reference.abs().view(torch.int16).int()
        assert torch.equal(fused[name].sign(), reference.sign()), name
        assert steps.abs().max() <= 1
        differing += int((steps != 0).sum())
    print(f"{differing} of the fused weights have a scale one bf16 step from the quantizer's own")
