"""plain keeps every value of any readable checkpoint, or rounds it once; real loaders take the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import weightsmith
from tests.shapes.test_crosscheck import SIZES
from tests.values.making import CONFIG, latent_llama, save, save_bin
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused

MODELS = Path(__file__).parent.parent / "models"


def test_a_torch_file_becomes_safetensors_with_the_same_tensors(tmp_path: Path) -> None:
    tensors = latent_llama()
    convert(
        save_bin(tmp_path / "source", tensors), tmp_path / "out", converter="plain", max_shard_size="200kB"
    )
    loaded: dict[str, torch.Tensor] = {}
    files = sorted((tmp_path / "out").glob("model-*.safetensors"))
    assert len(files) > 3
    for file in files:
        with safe_open(file, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
            loaded |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    shards = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())["weight_map"]
    assert shards.keys() == tensors.keys()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("workers", [1, 3])
def test_large_tensors_between_small_ones_lie_where_the_header_says(
    tmp_path: Path, dtype: str, workers: int
) -> None:
    """Pieces of some MiB begin anywhere within a block; a copy, a wider and a narrower cast."""
    wanted: torch.dtype = getattr(torch, dtype)
    torch.manual_seed(5)
    tensors: dict[str, torch.Tensor] = {}
    for number, rows in enumerate((1, 900, 3, 2048, 1, 512, 700)):
        tensors[f"layers.{number}.weight"] = torch.randn(rows, 1021).to(
            torch.float32 if number % 3 else torch.float16
        )
        tensors[f"layers.{number}.bias"] = torch.randn(number + 1).half()
    tensors["layers.1.weight"][::9] = 1e-9
    save(tmp_path / "source", tensors)
    result = convert(tmp_path / "source", tmp_path / "out", converter="plain", dtype=dtype, workers=workers)
    loaded = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(loaded[name], tensor.to(wanted)) for name, tensor in tensors.items())
    assert any("became zero" in note for note in result.notes) == (dtype == "float16")


def test_every_odd_view_is_written_as_its_own_tensor(tmp_path: Path) -> None:
    base = torch.arange(240, dtype=torch.float32).reshape(10, 24)
    tensors = {
        "transposed": base.t(),
        "sliced": base[2:7, 3:9],
        "stepped": base[::3, ::5],
        "expanded": base[:, :1].expand(10, 7),
        "shared": base,
        "cube": base.reshape(2, 5, 24).permute(2, 0, 1),
        "scalar": torch.tensor(3.5),
        "one": base[4:5],
        "empty": torch.empty(0, 3),
        "vector": base[:, 5],
    }
    torch.save(tensors, tmp_path / "weights.pt")
    result = convert(tmp_path / "weights.pt", tmp_path / "out")
    loaded = load_file(tmp_path / "out/model.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].shape == tensor.shape, name
        assert torch.equal(loaded[name], tensor), name
    assert result.tensors.copied == len(tensors)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("source", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_casts_round_as_torch_does_or_better(
    tmp_path: Path, source: torch.dtype, dtype: str, transpose: bool
) -> None:
    weight = torch.randn(300, 200, dtype=torch.float64).to(source)
    tensors = {"x.weight": weight.t() if transpose else weight, "ids": torch.arange(7)}
    torch.save(tensors, tmp_path / "weights.pt")
    convert(tmp_path / "weights.pt", tmp_path / "out", dtype=dtype)
    loaded = load_file(tmp_path / "out/model.safetensors")
    exact, theirs = tensors["x.weight"].double(), tensors["x.weight"].to(getattr(torch, dtype))
    if source is torch.float64 and dtype != "float32":  # torch goes by way of float32 and rounds twice
        assert torch.all((loaded["x.weight"].double() - exact).abs() <= (theirs.double() - exact).abs())
        assert torch.allclose(loaded["x.weight"], theirs, rtol=2**-7, atol=0)
    else:
        assert torch.equal(loaded["x.weight"], theirs)
    assert loaded["ids"].dtype == torch.int64


def test_a_cast_that_would_make_infinities_is_refused(tmp_path: Path) -> None:
    weight = torch.randn(64, 64)
    weight[5, 6] = 70000.0
    source = save(tmp_path / "source", {"x.weight": weight})
    with pytest.raises(ConversionRefused, match=r"x\.weight: 1 of its numbers are too large for F16"):
        convert(source, tmp_path / "out", dtype="float16")
    assert not (tmp_path / "out").exists()
    convert(source, tmp_path / "out", dtype="bfloat16")


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(
    ("source", "dtype", "least"),
    [
        (torch.float32, "float16", -24),
        (torch.bfloat16, "float16", -24),
        (torch.float64, "float16", -24),
        (torch.float64, "float32", -149),
        (torch.float64, "bfloat16", -133),
        (torch.float32, "bfloat16", -133),
    ],
)
def test_numbers_that_a_cast_makes_zero_are_counted(
    tmp_path: Path, source: torch.dtype, dtype: str, least: int, transpose: bool
) -> None:
    weight = torch.ones(1200, 300, dtype=source)
    weight[:7] = 0.0
    weight[7, :5] = -(2.0**least)  # stay
    weight[8, :11] = 2.0 ** (least - 1) * 1.125  # stay: rounded up
    weight[900, :11] = 2.0 ** (least - 1)  # half of the least, to even
    weight[1199, -2:] = -(2.0 ** (least - 3))
    other = torch.full((3,), 2.0 ** (least - 2), dtype=source)
    tensors = {"x.weight": weight.t() if transpose else weight, "y.weight": other}
    torch.save(tensors, tmp_path / "weights.pt")
    notes = convert(tmp_path / "weights.pt", tmp_path / "out", dtype=dtype).notes
    loaded = load_file(tmp_path / "out/model.safetensors")
    assert sum(int(((loaded[name] == 0) & (tensors[name] != 0)).sum()) for name in tensors) == 16
    assert any(note.startswith("16 nonzero numbers became zero") for note in notes), notes
    assert any("most of them in x.weight: 13" in note for note in notes), notes


@pytest.mark.parametrize("source", [torch.float16, torch.bfloat16])
def test_a_cast_that_keeps_all_numbers_says_nothing(tmp_path: Path, source: torch.dtype) -> None:
    weight = torch.tensor([[2.0**-24, 0.0, -0.0, 1.0]], dtype=source)
    torch.save({"x.weight": weight}, tmp_path / "weights.pt")
    for dtype in ("float16", "bfloat16", "float32"):
        notes = convert(tmp_path / "weights.pt", tmp_path / dtype, dtype=dtype).notes
        assert not any("became zero" in note for note in notes)


def test_infinities_that_were_there_are_kept_where_damage_is_allowed(tmp_path: Path) -> None:
    weight = torch.full((4, 4), float("inf"))
    source = save(tmp_path / "source", {"x.weight": weight})
    convert(source, tmp_path / "out", dtype="fp16", allow_damage=True)
    assert torch.equal(load_file(tmp_path / "out/model.safetensors")["x.weight"], weight.half())


def test_eight_bit_floats_are_not_cast_without_their_scales(tmp_path: Path) -> None:
    source = save(tmp_path / "source", {"x.weight": torch.ones(16, 16).to(torch.float8_e4m3fn)})
    with pytest.raises(ConversionRefused, match="scales"):
        convert(source, tmp_path / "out", converter="plain", dtype="bf16")
    convert(source, tmp_path / "out", converter="plain")


def test_the_config_names_the_new_dtype(tmp_path: Path) -> None:
    config = {**CONFIG, "model_type": "unheard_of", "text_config": {"dtype": "bfloat16", "torch_dtype": None}}
    result = convert(save(tmp_path / "source", latent_llama(), config), tmp_path / "out", dtype="float32")
    written = json.loads((tmp_path / "out/config.json").read_text())
    assert written["torch_dtype"] == written["text_config"]["dtype"] == "float32"
    assert written["text_config"]["torch_dtype"] is None
    assert [change.name for change in result.config_changes] == ["torch_dtype", "text_config.dtype"]


def tied(share: bool = True) -> dict[str, torch.Tensor]:
    tensors = latent_llama()
    embedding = tensors["model.embed_tokens.weight"]
    return {**tensors, "lm_head.weight": embedding if share else embedding.clone()}


@pytest.mark.parametrize("share", [True, False])
def test_a_tied_duplicate_is_dropped_when_the_config_ties_it(tmp_path: Path, share: bool) -> None:
    source = save_bin(tmp_path / "source", tied(share), {**CONFIG, "tie_word_embeddings": True})
    result = convert(source, tmp_path / "out", converter="plain")
    names = open_checkpoint(tmp_path / "out").tensors
    assert "lm_head.weight" not in names
    assert "model.embed_tokens.weight" in names
    assert result.tensors.dropped == 1


@pytest.mark.parametrize("config", [CONFIG, {**CONFIG, "tie_word_embeddings": False}])
def test_without_the_configs_word_both_are_written(tmp_path: Path, config: dict[str, object]) -> None:
    source = save_bin(tmp_path / "source", tied(), config)
    result = convert(source, tmp_path / "out", converter="plain")
    loaded = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(loaded["lm_head.weight"], loaded["model.embed_tokens.weight"])
    assert result.tensors.dropped == 0


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("model_type", ["bert", "albert", "roberta", "gemma"])
def test_a_config_that_leaves_the_tie_to_its_class_is_kept(
    tmp_path: Path, model_type: str, share: bool, dtype: str | None
) -> None:
    """BERT as it was published: the head is stored again, and nothing in the config says that it is tied."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    built = AutoConfig.for_model(model_type, **SIZES, embedding_size=32)
    auto = AutoModelForCausalLM if model_type == "gemma" else AutoModelForMaskedLM
    model = auto.from_config(built)
    state = model.state_dict()
    tensors = state if share else {name: one.clone() for name, one in state.items()}
    config = {name: value for name, value in built.to_dict().items() if value is not None}
    del config["tie_word_embeddings"]
    source = save_bin(tmp_path / "source", tensors, {**config, "architectures": [type(model).__name__]})
    result = convert(source, tmp_path / "out", dtype=dtype)
    assert not [change for change in result.config_changes if change.name == "tie_word_embeddings"]
    assert weightsmith.infer(tmp_path / "out").verdict == "agrees"


def test_a_head_that_differs_from_its_tie_is_kept(tmp_path: Path) -> None:
    source = save_bin(tmp_path / "source", latent_llama(), {**CONFIG, "tie_word_embeddings": True})
    convert(source, tmp_path / "out", converter="plain")
    assert "lm_head.weight" in open_checkpoint(tmp_path / "out").tensors


def test_transformers_loads_a_converted_model_and_computes_the_same(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    source = tmp_path / "source"
    source.mkdir()
    torch.save(model.state_dict(), source / "pytorch_model.bin")
    config.save_pretrained(source)
    convert(source, tmp_path / "out", max_shard_size="10kB")
    converted = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    ids = torch.arange(16).reshape(1, 16)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, converted(ids).logits)


def test_the_trained_hrm_text_model_comes_through_unchanged(tmp_path: Path) -> None:
    result = convert(MODELS / "hrm-text", tmp_path / "out")
    assert result.converter == "plain"
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        MODELS / "hrm-text/model.safetensors"
    ).read_bytes()
