"""What each library does with its own format, from a folder to a folder: one process each, which the bench times."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TARGETS = ["re:.*_proj$"]


def compressed_tensors(source: str, target: str) -> None:
    """compressed-tensors' own way from a packed checkpoint to a plain one, without a model."""
    from compressed_tensors.entrypoints.convert import CompressedTensorsDequantizer, convert_checkpoint

    convert_checkpoint(source, target, CompressedTensorsDequantizer(source))


def compressed_tensors_fp8(source: str, target: str) -> None:
    """The same of DeepSeek's blocks."""
    from compressed_tensors.entrypoints.convert import FP8BlockDequantizer, convert_checkpoint

    class InOnePiece(FP8BlockDequantizer):
        """0.17.0 cuts off what it has padded, and safetensors does not save such a view."""

        def process(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: tensor.contiguous() for name, tensor in super().process(tensors).items()}

    convert_checkpoint(source, target, InOnePiece(targets=TARGETS))


def transformers(source: str, target: str) -> None:
    """from_pretrained with `dequantize`, and its state dict."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.quantization_config import CompressedTensorsConfig, FineGrainedFP8Config

    section = AutoConfig.from_pretrained(source).quantization_config
    kind = FineGrainedFP8Config if section["quant_method"] == "fp8" else CompressedTensorsConfig
    config = kind(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16, quantization_config=config)
    _save(model, target)


def transformers_gguf(source: str, target: str) -> None:
    """The same of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM

    folder, file = Path(source).parent, Path(source).name
    _save(AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.bfloat16), target)


def _save(model: torch.nn.Module, target: str) -> None:
    from safetensors.torch import save_file

    state = {
        name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"
    }
    Path(target).mkdir()
    save_file(state, Path(target) / "model.safetensors", metadata={"format": "pt"})


def msmodelslim(source: str, target: str) -> None:
    """msmodelslim's `dequantize` of 8-bit rows, applied to its own files. It has no program for this direction."""
    import torch
    from msmodelslim.ir.api.impl.int_quantization import int_dequantize
    from msmodelslim.ir.qal import QStorage
    from msmodelslim.ir.qal.qbase import QDType, QParam, QScheme, QScope
    from safetensors.torch import load_file, save_file

    state = {}
    for path in sorted(Path(source).glob("*.safetensors")):
        state |= load_file(path)
    scheme = QScheme(dtype=QDType.INT8, scope=QScope.PER_CHANNEL, symmetric=True)
    plain = {}
    for name, tensor in state.items():
        if f"{name}_scale" in state:
            beside = {"scale": state[f"{name}_scale"], "offset": state[f"{name}_offset"]}
            made = int_dequantize(QStorage(QDType.INT8, tensor), QParam(scheme=scheme, ext=beside))
            plain[name] = made.value.to(torch.bfloat16)
        elif not name.endswith(("_scale", "_offset")):
            plain[name] = tensor
    Path(target).mkdir()
    save_file(plain, Path(target) / "model.safetensors", metadata={"format": "pt"})


PEERS = {
    peer.__name__: peer
    for peer in (compressed_tensors, compressed_tensors_fp8, transformers, transformers_gguf, msmodelslim)
}

if __name__ == "__main__":
    PEERS[sys.argv[1]](*sys.argv[2:])
