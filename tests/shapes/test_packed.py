"""Packing does not blind the shapes: every layout is undone, and its quantization_config follows from the tensors."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

from tests.shapes.reference import tensor
from weightsmith.checkpoint import Checkpoint, Tensor
from weightsmith.schemes import plain_view
from weightsmith.shapes import infer
from weightsmith.shapes.beside.quantization import quantization_rows
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.page.predict import predict

SIZES = {
    "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
    "intermediate_size": 384, "vocab_size": 320, "attention_bias": False, "mlp_bias": False,
    "tie_word_embeddings": False,
}  # fmt: skip
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SIZES}
GROUP = 64


def parts(method: str, n: int, k: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors that stand for one [n, k] linear weight: last name → (dtype, shape)."""
    match method:
        case "gptq":
            return {
                "qweight": ("I32", (k // 8, n)), "qzeros": ("I32", (k // GROUP, n // 8)),
                "scales": ("F16", (k // GROUP, n)), "g_idx": ("I32", (k,)),
            }  # fmt: skip
        case "gptq-8bit-without-g_idx":
            return {
                "qweight": ("I32", (k // 4, n)), "qzeros": ("I32", (k // GROUP, n // 4)),
                "scales": ("F16", (k // GROUP, n)),
            }  # fmt: skip
        case "awq":
            return {
                "qweight": ("I32", (k, n // 8)), "qzeros": ("I32", (k // GROUP, n // 8)),
                "scales": ("F16", (k // GROUP, n)),
            }  # fmt: skip
        case "compressed-int4":
            return {
                "weight_packed": ("I32", (n, k // 8)), "weight_scale": ("BF16", (n, k // GROUP)),
                "weight_shape": ("I64", (2,)),
            }  # fmt: skip
        case "compressed-int8-packed":
            return {
                "weight_packed": ("I32", (n, k // 4)), "weight_scale": ("BF16", (n, 1)),
                "weight_shape": ("I64", (2,)), "weight_zero_point": ("I32", (n // 4, 1)),
            }  # fmt: skip
        case "compressed-w8a8":
            return {"weight": ("I8", (n, k)), "weight_scale": ("BF16", (n, 1))}
        case "compressed-fp8":
            return {
                "weight": ("F8_E4M3", (n, k)),
                "weight_scale": ("F32", (1,)),
                "input_scale": ("F32", (1,)),
            }
        case "nvfp4":
            return {
                "weight_packed": ("U8", (n, k // 2)), "weight_scale": ("F8_E4M3", (n, k // 16)),
                "weight_global_scale": ("F32", (1,)),
            }  # fmt: skip
        case "fp8-block":
            return {"weight": ("F8_E4M3", (n, k)), "weight_scale_inv": ("F32", (-(-n // 128), -(-k // 128)))}
        case "bitsandbytes-int8":
            return {"weight": ("I8", (n, k)), "SCB": ("F32", (n,)), "weight_format": ("U8", ())}
        case "bitnet":
            return {"weight": ("U8", (n // 4, k)), "weight_scale": ("BF16", (1,))}
        case "modelslim":
            return {
                "weight": ("I8", (n, k)),
                "weight_scale": ("F32", (n, 1)),
                "weight_offset": ("F32", (n, 1)),
            }
    raise AssertionError(method)


def plain() -> dict[str, tuple[int, ...]]:
    return predict(load_page("llama").layouts[""], SIZES)


def packed(method: str) -> Checkpoint:
    """The llama of SIZES with every linear layer but the head packed."""
    tensors: dict[str, Tensor] = {}
    for name, shape in plain().items():
        if "proj" not in name:
            tensors[name] = tensor(name, shape)
            continue
        for part, (dtype, packed_shape) in parts(method, *shape).items():
            whole = name.removesuffix("weight") + part
            tensors[whole] = tensor(whole, packed_shape, dtype)
    return in_memory(tensors)


def in_memory(tensors: dict[str, Tensor], root: Path = Path("nowhere")) -> Checkpoint:
    total = sum(prod(t.shape) for t in tensors.values())
    return Checkpoint(root, root, "safetensors", {"model.safetensors": total}, tensors, None, {}, ())


QUANTIZED: dict[str, dict[str, Any]] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": GROUP},
    "gptq-8bit-without-g_idx": {"quant_method": "gptq", "bits": 8, "group_size": GROUP},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": GROUP},
    "compressed-int4": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["lm_head"],
    },
    "compressed-int8-packed": {"quant_method": "compressed-tensors", "format": "pack-quantized"},
    "compressed-w8a8": {"quant_method": "compressed-tensors", "format": "int-quantized"},
    "compressed-fp8": {"quant_method": "compressed-tensors", "format": "float-quantized"},
    "nvfp4": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"},
    "fp8-block": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "bitsandbytes-int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "bitnet": {"quant_method": "bitnet"},
    "modelslim": {},
}


@pytest.mark.parametrize("method", QUANTIZED)
def test_sizes_are_found_under_the_packing(method: str) -> None:
    found = infer(packed(method), {**CONFIG, "hidden_size": 512, "intermediate_size": 100})
    assert found.verdict == "differs"
    assert {name: found.config[name] for name in SIZES} == SIZES
    assert not found.architecture.unmatched_tensors and not found.architecture.missing_tensors


def test_norms_that_suppress_outliers_are_no_stray_tensors() -> None:
    """ModelSlim stores a second norm, with a bias, under `.module.`: the packed weights go with that one."""
    model = packed("modelslim")
    second = {
        f"{name.removesuffix('weight')}module.{part}": shape
        for name, shape in plain().items()
        if name.endswith("norm.weight")
        for part in ("weight", "bias")
    }
    tensors = {**model.tensors, **{name: tensor(name, shape) for name, shape in second.items()}}
    found = infer(in_memory(tensors), CONFIG)
    assert found.architecture.model_type == "llama" and not found.architecture.unmatched_tensors
    assert {name: found.config[name] for name in SIZES} == SIZES
    assert plain_view(in_memory(tensors)).second_norms == tuple(second)
    without = {**{name: tensor(name, shape) for name, shape in {**plain(), **second}.items()}}
    assert infer(in_memory(without), CONFIG).architecture.unmatched_tensors, "only ModelSlim has such norms"


@pytest.mark.parametrize("method", QUANTIZED)
def test_the_quantization_config_follows_from_the_tensors(method: str) -> None:
    found = infer(packed(method), CONFIG)
    derived = found.config.get("quantization_config", {})
    assert {key: derived.get(key) for key in QUANTIZED[method]} == QUANTIZED[method]
    if derived:
        assert found.verdict == "differs"
        again = infer(packed(method), found.config)
        assert again.verdict == "agrees", [(f.name, f.configured, f.derived) for f in again.changes]


def test_compressed_weights_state_bits_strategy_and_group() -> None:
    def weights(method: str) -> dict[str, Any]:
        config = infer(packed(method), CONFIG).config["quantization_config"]
        return dict(config["config_groups"]["group_0"]["weights"])

    assert weights("compressed-int4") == {
        "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP,
    }  # fmt: skip
    assert weights("compressed-int8-packed") == {
        "num_bits": 8, "type": "int", "symmetric": False, "strategy": "channel", "group_size": None,
    }  # fmt: skip
    assert weights("compressed-fp8")["strategy"] == "tensor"


def test_a_wrong_group_size_is_corrected_and_only_that() -> None:
    config = {
        **CONFIG,
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True},
    }
    found = infer(packed("gptq"), config)
    assert [(f.name, f.configured, f.derived, f.basis) for f in found.changes] == [
        ("quantization_config.group_size", 128, GROUP, "weights")
    ]
    assert found.config["quantization_config"] == {**config["quantization_config"], "group_size": GROUP}


@pytest.mark.parametrize("intermediate", [512, 256])
@pytest.mark.parametrize("method", ["compressed-int4", "gptq", "awq"])
def test_a_module_as_wide_as_one_group_has_that_group(
    method: str, intermediate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its one scale per row is also one per group of 256, whether wider modules show that group or only the config."""
    monkeypatch.setattr(f"{__name__}.GROUP", 256)
    monkeypatch.setitem(SIZES, "intermediate_size", intermediate)
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 256}
    compressed = {"format": "pack-quantized", "config_groups": {"group_0": {"weights": weights}}}
    stated = {"quant_method": "compressed-tensors", **compressed}
    if method != "compressed-int4":
        stated = {"quant_method": method, "bits": 4, "group_size": 256}
    found = infer(packed(method), {**CONFIG, **SIZES, "quantization_config": stated})
    assert (found.verdict, found.changes) == ("agrees", ())
    assert "quantization-mixed" not in {problem.code for problem in found.problems}


def test_what_the_tensors_do_not_prove_is_said() -> None:
    messages = [p.message for p in infer(packed("gptq"), CONFIG).problems if p.code == "quantization"]
    assert messages and "desc_act" in messages[0]


def test_a_config_that_claims_packing_of_plain_weights_is_a_problem() -> None:
    tensors = {name: tensor(name, shape) for name, shape in plain().items()}
    config = {**CONFIG, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    found = infer(in_memory(tensors), config)
    assert any(p.code == "quantization" and "no tensor is packed" in p.message for p in found.problems)


def test_four_bit_bitsandbytes_tells_its_shapes_in_a_tensor(tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = {}
    data, place = b"", 0
    for name, shape in plain().items():
        if "proj" not in name:
            tensors[name] = tensor(name, shape)
            continue
        state = json.dumps({"quant_type": "nf4", "blocksize": 64, "shape": list(shape)}).encode()
        tensors[name] = tensor(name, (prod(shape) // 2, 1), "U8")
        for part, size, dtype in (("absmax", prod(shape) // 64, "F32"), ("quant_map", 16, "F32")):
            tensors[f"{name}.{part}"] = tensor(f"{name}.{part}", (size,), dtype)
        whole = f"{name}.quant_state.bitsandbytes__nf4"
        blob = tensor(whole, (len(state),), "U8")
        tensors[whole] = Tensor(
            whole, "U8", blob.shape, type(blob.storage)("model.safetensors", place, len(state)), 0, (1,)
        )
        data += state
        place += len(state)
    (tmp_path / "model.safetensors").write_bytes(data)
    found = infer(in_memory(tensors, tmp_path), None)
    assert found.verdict == "guessed"
    assert {name: found.config[name] for name in ("hidden_size", "intermediate_size", "vocab_size")} == {
        name: SIZES[name] for name in ("hidden_size", "intermediate_size", "vocab_size")
    }
    assert found.config["quantization_config"]["bnb_4bit_quant_type"] == "nf4"


def test_what_the_config_of_a_part_says_of_the_packing_counts_as_said() -> None:
    stated = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    config = {"model_type": "x", "text_config": {**CONFIG, "quantization_config": stated}}
    rows = quantization_rows(config, plain_view(packed("gptq")), whole=True)
    assert {row.name: row.derived for row in rows if row.changed} == {
        "text_config.quantization_config.group_size": GROUP
    }
    stated["group_size"] = GROUP
    assert not [
        row for row in quantization_rows(config, plain_view(packed("gptq")), whole=True) if row.changed
    ]


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ("gptq", "auto-round"),
        ("awq", "auto-round"),
        ("gptq", "intel/auto-round"),
        ("compressed-w8a8", "quark"),
    ],
)
def test_another_library_that_stores_the_same_is_not_ruled_out(method: str, named: str) -> None:
    stated = {"quant_method": named, "bits": 4, "group_size": GROUP}
    found = infer(packed(method), {**CONFIG, "quantization_config": stated})
    assert (found.verdict, found.changes) == ("agrees", ())
    assert (
        infer(packed(method), {**CONFIG, "quantization_config": {"quant_method": "aqlm"}}).verdict
        == "differs"
    )


def in_blocks(tmp_path: Path, stated: dict[str, Any] | None) -> tuple[Checkpoint, dict[str, Any]]:
    """FP8 in blocks of 128 by 128, as compressed-tensors stores it, and its config."""
    tensors = packed("fp8-block").tensors
    renamed = {name.replace("_scale_inv", "_scale"): one for name, one in tensors.items()}
    config = {**CONFIG, **SIZES, **({"quantization_config": stated} if stated else {})}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return in_memory({name: replace(one, name=name) for name, one in renamed.items()}, tmp_path), config


@pytest.mark.parametrize("hidden", [256, 128])
def test_blocks_of_compressed_tensors_are_no_groups(
    tmp_path: Path, hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where a weight is no larger than a block, either: it has one number, and that is a block's."""
    monkeypatch.setitem(SIZES, "hidden_size", hidden)
    monkeypatch.setitem(SIZES, "num_key_value_heads", 1)
    weights = {
        "num_bits": 8,
        "type": "float",
        "strategy": "block",
        "block_structure": [128, 128],
        "symmetric": True,
    }
    groups = {"group_0": {"targets": ["Linear"], "weights": {**weights, "group_size": None}}}
    stated = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": groups}
    found = infer(*in_blocks(tmp_path, stated))
    assert (found.verdict, found.changes) == ("agrees", ())
    assert "quantization-mixed" not in {problem.code for problem in found.problems}


def test_blocks_without_a_config_are_derived(tmp_path: Path) -> None:
    derived = infer(*in_blocks(tmp_path, None)).config["quantization_config"]
    weights = derived["config_groups"]["group_0"]["weights"]
    assert (weights["strategy"], weights["block_structure"], weights["group_size"]) == (
        "block",
        [128, 128],
        None,
    )
