"""An adapter merged into its base is W + s B A, rounded once; what is not that is refused by name."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.values.making import CONFIG, latent_llama, save
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused, WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj"
FAR = "model.layers.9.mlp.up_proj"


def factors(weight: torch.Tensor, rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, weight.shape[1], generator=generator) * 0.1
    return a, torch.randn(weight.shape[0], rank, generator=generator) * 0.1


def adapter(folder: Path, tensors: dict[str, torch.Tensor], **stated: Any) -> Path:
    folder.mkdir(parents=True)
    named = {f"base_model.model.{name}": tensor.contiguous() for name, tensor in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "elsewhere", **stated}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def merged(
    tmp_path: Path, tensors: dict[str, torch.Tensor], dtype: str | None = None, **stated: Any
) -> dict[str, torch.Tensor]:
    base = save(tmp_path / "base", latent_llama(), CONFIG)
    source = adapter(tmp_path / "adapter", tensors, **stated)
    convert(source, tmp_path / "out", converter="lora", options={"base": str(base)}, dtype=dtype)
    return load_file(tmp_path / "out/model.safetensors")


def pair(rank: int = 4, seed: int = 3, module: str = Q) -> dict[str, torch.Tensor]:
    a, b = factors(latent_llama()[f"{module}.weight"], rank, seed)
    return {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}


def product(tensors: dict[str, torch.Tensor], module: str = Q) -> torch.Tensor:
    return tensors[f"{module}.lora_B.weight"].double() @ tensors[f"{module}.lora_A.weight"].double()


@pytest.mark.parametrize(
    ("stated", "scaling"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 4.0),
        ({"alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"r": 16, "rank_pattern": {Q: 4}}, 2.0),
    ],
)
def test_the_sum_is_rounded_once_and_nothing_else_changes(
    tmp_path: Path, stated: dict[str, Any], scaling: float
) -> None:
    tensors, base = pair(), latent_llama()
    found = merged(tmp_path, tensors, **stated)
    exact = base[f"{Q}.weight"].double() + scaling * product(tensors)
    assert found.keys() == base.keys()
    near = (found[f"{Q}.weight"].double() - exact).abs()
    assert (near <= (exact.to(base[f"{Q}.weight"].dtype).double() - exact).abs()).all()
    assert all(torch.equal(found[name], base[name]) for name in base if name != f"{Q}.weight")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "weightsmith.json",
    ]
    sources = {row["file"] for row in json.loads((tmp_path / "out/weightsmith.json").read_text())["source"]}
    assert sources == {"adapter_model.safetensors", "config.json", "model.safetensors"}


def test_dora_scales_each_output_to_its_magnitude(tmp_path: Path) -> None:
    tensors, weight = pair(), latent_llama()[f"{Q}.weight"].double()
    magnitude = torch.rand(weight.shape[0]) + 0.5
    found = merged(
        tmp_path, {**tensors, f"{Q}.lora_magnitude_vector.weight": magnitude}, dtype="float32", use_dora=True
    )[f"{Q}.weight"]
    summed = weight + 2 * product(tensors)
    exact = summed * (magnitude.double() / summed.norm(dim=1))[:, None]
    assert torch.equal(found, exact.float())


def test_an_embedding_is_turned_and_a_whole_tensor_taken(tmp_path: Path) -> None:
    base = latent_llama()
    embedding, head = base["model.embed_tokens.weight"], base["lm_head.weight"] + 1
    a, b = torch.randn(4, embedding.shape[0]), torch.randn(embedding.shape[1], 4)
    name = "model.embed_tokens"
    found = merged(
        tmp_path,
        {f"{name}.lora_embedding_A": a, f"{name}.lora_embedding_B": b, "lm_head.weight": head},
        dtype="float32",
    )
    exact = embedding.double() + 2 * (b.double() @ a.double()).T
    assert torch.allclose(found["model.embed_tokens.weight"].double(), exact, rtol=1e-7, atol=1e-7)
    assert torch.equal(found["lm_head.weight"], head.float())


def test_weights_that_lie_the_other_way_round_are_told_by_their_shape(tmp_path: Path) -> None:
    tensors, base = pair(module=UP), latent_llama()
    base[f"{UP}.weight"] = base[f"{UP}.weight"].t().contiguous()  # as GPT-2's Conv1D has it
    source = adapter(tmp_path / "adapter", tensors)
    folder = save(tmp_path / "base", base, {**CONFIG, "model_type": "unheard_of"})
    convert(source, tmp_path / "out", converter="lora", options={"base": str(folder)}, dtype="float32")
    found = load_file(tmp_path / "out/model.safetensors")[f"{UP}.weight"]
    exact = base[f"{UP}.weight"].double() + 2 * product(tensors, UP).T
    assert torch.equal(found, exact.float())


def test_an_adapter_beside_its_base_needs_no_option(tmp_path: Path) -> None:
    source = save(tmp_path / "base", latent_llama(), CONFIG)
    made = adapter(tmp_path / "adapter", pair())
    for file in made.iterdir():
        file.rename(source / file.name)
    result = convert(source, tmp_path / "out", converter="lora")
    assert "1 modules merged" in result.notes
    assert not list((tmp_path / "out").glob("adapter_*"))
    assert not torch.equal(
        load_file(tmp_path / "out/model.safetensors")[f"{Q}.weight"], latent_llama()[f"{Q}.weight"]
    )


def test_the_adapters_tokenizer_is_taken_whole(tmp_path: Path) -> None:
    base = save(tmp_path / "base", latent_llama(), CONFIG)
    source = adapter(tmp_path / "adapter", pair())
    (base / "tokenizer.model").write_text("of the base")
    (base / "tokenizer_config.json").write_text("{}")
    (source / "tokenizer_config.json").write_text('{"added": 1}')
    result = convert(source, tmp_path / "out", converter="lora", options={"base": str(base)})
    assert (tmp_path / "out/tokenizer_config.json").read_text() == '{"added": 1}'
    assert "tokenizer.model" in result.left_out


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"r": 8}, "of rank 4 and 4, and adapter_config.json says 8"),
        ({"peft_type": "IA3"}, "of type 'IA3', not LORA"),
        ({"init_lora_weights": "pissa"}, "changes the base"),
        ({"target_parameters": ["experts.gate"]}, "target_parameters"),
        ({"rank_pattern": {".*q_proj": 4}}, "regular expression"),
        ({"use_dora": True}, "has no magnitudes"),
        ({"r": True}, "no rank"),
        ({"lora_alpha": "x"}, "no number"),
    ],
)
def test_what_is_no_plain_merge_is_refused(tmp_path: Path, stated: dict[str, Any], words: str) -> None:
    with pytest.raises(WeightsmithError, match=words):
        merged(tmp_path, pair(), **stated)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({f"{Q}.lora_A": (4, 128)}, "lora_A of .* alone"),
        ({f"{FAR}.lora_A": (4, 8), f"{FAR}.lora_B": (8, 4)}, "that its base lacks"),
        ({f"{Q}.lora_A": (4, 9), f"{Q}.lora_B": (9, 4)}, r"its LoRA matrices make \[9, 9\]"),
        ({f"{Q}.prompt": (4,)}, "no LoRA matrices"),
    ],
)
def test_matrices_that_do_not_fit_are_named(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], words: str
) -> None:
    tensors = {f"{name}.weight": torch.ones(shape) for name, shape in shapes.items()}
    with pytest.raises(ConversionRefused, match=words):
        merged(tmp_path, tensors)


def test_a_broken_adapter_writes_nothing(tmp_path: Path) -> None:
    tensors = pair()
    tensors[f"{Q}.lora_B.weight"][3, 1] = math.nan
    with pytest.raises(ConversionRefused, match="NaN or infinite once it is merged"):
        merged(tmp_path, tensors)


def test_an_adapter_alone_is_refused_with_the_way_out(tmp_path: Path) -> None:
    source = adapter(tmp_path / "adapter", pair())
    with pytest.raises(ConversionRefused, match=r"LoRA matrices of an adapter.*--converter lora --set base="):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_base_the_option_is_named(tmp_path: Path) -> None:
    source = adapter(tmp_path / "adapter", pair())
    with pytest.raises(ConversionRefused, match=r"no base beside it; name the base .* --set base=FOLDER"):
        convert(source, tmp_path / "out", converter="lora")
    with pytest.raises(WeightsmithError, match=r"has no adapter_model\.safetensors"):
        convert(save(tmp_path / "base", latent_llama()), tmp_path / "out", converter="lora")
