"""Weights that other people's libraries packed, made plain by us and by them. `make bench-judges`.

A small Llama is packed by a library's own code, and written by it as it writes checkpoints for others. The library then
says itself what each packed weight stands for; `weightsmith convert` says it from the files alone. Rounded to the
library's dtype, the two are compared number by number. Each library runs in a child: what cannot be imported here is a
row that says why.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import weightsmith
from benchmarks.schemes import other_judges
from benchmarks.schemes.small_model import Truth, linears, save, shapes_asked, small_llama
from weightsmith.checkpoint.hashing import bytes_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

PACKED, TRUTH = "packed", "truth.safetensors"


def bitsandbytes(folder: Path, **how: Any) -> Truth:
    """As transformers quantizes while it loads, and saves."""
    import torch
    from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    small_llama().save_pretrained(folder.with_name("plain"))
    how = (
        how
        if "load_in_8bit" in how
        else {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.bfloat16, **how}
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder.with_name("plain"),
        quantization_config=BitsAndBytesConfig(**how),
        device_map="cpu",
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)
    found = {}
    for name, one in linears(model).items():
        if "load_in_8bit" in how:
            codes = one.weight.data
            scale = one.state.SCB if one.state.SCB is not None else one.weight.SCB
            # It multiplies by the scale, then by 1/127, both in float32: a last bit there is not the weight's.
            found[name] = int8_vectorwise_dequant(codes, scale).bfloat16()
        else:
            found[name] = dequantize_4bit(one.weight.data, one.weight.quant_state)
    return found


def bitsandbytes_experts(folder: Path) -> Truth:
    """A mixture of experts whose stacked weights bitsandbytes packs in place, with a hook that saves them."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.parametrize import replace_parameter_4bit
    from safetensors.torch import save_file
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    shapes = {**shapes_asked(), "num_local_experts": 4, "num_experts_per_tok": 2}
    model = MixtralForCausalLM(MixtralConfig(**shapes)).to(torch.bfloat16)
    found = {}
    for name, one in model.named_modules():
        if name.endswith(".experts"):
            for part in ("gate_up_proj", "down_proj"):
                replace_parameter_4bit(one, part, compress_statistics=False, quant_type="nf4")
                (packed,) = (p.quant_state for p in one.parametrizations[part])
                found[f"{name}.{part}"] = dequantize_4bit(one.parametrizations[part].original, packed)
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / "model.safetensors")
    section = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True, **_NF4}}
    (folder / "config.json").write_text(json.dumps({**model.config.to_dict(), **section}))
    return found


def torchao(folder: Path, config: str, **how: Any) -> Truth:
    """As transformers quantizes with torchao, and saves."""
    import torch
    import torchao.quantization
    from transformers import AutoModelForCausalLM, TorchAoConfig

    small_llama().save_pretrained(folder.with_name("plain"))
    chosen = getattr(torchao.quantization, config)(**how)
    model = AutoModelForCausalLM.from_pretrained(
        folder.with_name("plain"),
        quantization_config=TorchAoConfig(chosen),
        device_map="cpu",
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)
    return {name: one.weight.dequantize() for name, one in linears(model).items()}


def quanto(folder: Path, dtype: str) -> Truth:
    """As its README saves: the state of a frozen model, and its map."""
    import optimum.quanto as library
    from safetensors.torch import save_file

    model = small_llama()
    library.quantize(model, weights=getattr(library, dtype), exclude=["lm_head"])
    library.freeze(model)
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "quanto_qmap.json").write_text(json.dumps(library.quantization_map(model)))
    section = {"quantization_config": {"quant_method": "quanto", "weights": dtype.removeprefix("q")}}
    (folder / "config.json").write_text(json.dumps({**model.config.to_dict(), **section}))
    return {name: one.weight.dequantize() for name, one in linears(model).items()}


def mlx(folder: Path, bits: int, group_size: int, mode: str = "affine") -> Truth:
    """Its own packing of each weight; the names are those of mlx_lm."""
    import mlx.core as mx
    import torch

    model = small_llama()
    packed: dict[str, dict[str, Tensor]] = {}
    found = {}
    for name, one in linears(model).items():
        weight = mx.array(one.weight.detach().float().numpy()).astype(mx.bfloat16)
        parts = mx.quantize(weight, group_size=group_size, bits=bits, mode=mode)
        # In float32: in bfloat16 it rounds the product, and then the sum.
        wide = parts if mode != "affine" else (parts[0], *(part.astype(mx.float32) for part in parts[1:]))
        exact = mx.dequantize(*wide, group_size=group_size, bits=bits, mode=mode)
        found[name] = torch.tensor(exact.astype(mx.float32).tolist())
        names = ("weight", "scales", "biases")
        mx.save_safetensors(str(folder / "one"), dict(zip(names, parts, strict=False)))
        packed[name] = _read(folder / "one.safetensors")
    (folder / "one.safetensors").unlink()
    how = {"group_size": group_size, "bits": bits, **({} if mode == "affine" else {"mode": mode})}
    save(folder, model, packed, {"quantization": how, "quantization_config": how})
    return found


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    # Copies: the file is mapped, and written again for the next weight.
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def _scales_and_zeros(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Of 4 bits with zero points, [rows, groups]: what both AWQ and GPTQ round to before they pack."""
    groups = weight.float().unflatten(-1, (-1, group))
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale = ((high - low) / 15).clamp(min=1e-5)
    return scale, (-low / scale).round().clamp(0, 15)


def awq(folder: Path, version: str) -> Truth:
    """Packed by AutoAWQ's own layers."""
    import torch
    from awq.modules.linear import gemm, gemv

    model, group = small_llama().half(), 64
    kind = {"gemm": gemm.WQLinear_GEMM, "gemv": gemv.WQLinear_GEMV}[version]
    packed, found = {}, {}
    for name, one in linears(model).items():
        scale, zero = _scales_and_zeros(one.weight.data, group)
        scale = scale.half().float()
        codes = (
            one.weight.data.float().unflatten(-1, (-1, group)) / scale[..., None] + zero[..., None]
        ).round()
        codes = codes.clamp(0, 15)
        exact = ((codes - zero[..., None]) * scale[..., None]).flatten(1)
        given = torch.nn.Linear(one.in_features, one.out_features, bias=False, dtype=torch.float16)
        given.weight.data = exact.half()
        turned = (scale.t(), zero.t()) if version == "gemm" else (scale, zero)
        layer = kind.from_linear(given, 4, group, False, *(each.contiguous().half() for each in turned))
        packed[name] = {part: tensor for part, tensor in layer.state_dict().items() if tensor is not None}
        found[name] = _unpacked_by_awq(layer, group) if version == "gemm" else exact.half()
    section = {"quant_method": "awq", "bits": 4, "group_size": group, "version": version, "zero_point": True}
    save(folder, model, packed, {"quantization_config": section})
    return found


def _unpacked_by_awq(layer: Any, group: int) -> Tensor:
    from awq.utils.packing_utils import dequantize_gemm

    weight: Tensor = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, 4, group)
    return weight.t()


def gptq(folder: Path, bits: int, ordered: bool = False) -> Truth:
    """Packed by AutoGPTQ's own layer, which then multiplies the unit matrix by it."""
    import torch

    # AutoGPTQ's models ask transformers for what it no longer has. Its layers, which pack, need none of them.
    place = importlib.util.find_spec("auto_gptq").submodule_search_locations[0]
    for name in ("auto_gptq", "auto_gptq.nn_modules"):
        module = types.ModuleType(name)
        module.__path__ = [str(Path(place, *name.split(".")[1:]))]
        sys.modules[name] = module
    from auto_gptq.nn_modules.qlinear.qlinear_cuda_old import QuantLinear

    model, group, most = small_llama().half(), 64, 2**bits - 1
    packed, found = {}, {}
    for name, one in linears(model).items():
        rows, columns = one.weight.shape
        order = torch.arange(columns) // group
        order = order[torch.randperm(columns)] if ordered else order
        weight = one.weight.data.float()
        scale, zero = torch.zeros(rows, columns // group), torch.zeros(rows, columns // group)
        for number in range(columns // group):
            held = weight[:, order == number]
            low, high = held.amin(-1).clamp(max=0), held.amax(-1).clamp(min=0)
            scale[:, number] = ((high - low) / most).clamp(min=1e-5).half().float()
            zero[:, number] = (-low / scale[:, number]).round().clamp(1, most)
        codes = (weight / scale[:, order] + zero[:, order]).round().clamp(0, most)
        exact = torch.nn.Linear(columns, rows, bias=False, dtype=torch.float16)
        exact.weight.data = ((codes - zero[:, order]) * scale[:, order]).half()
        layer = QuantLinear(bits, group, columns, rows, False, use_cuda_fp16=False)
        layer.pack(exact, scale, zero, order.int())
        packed[name] = {part: tensor for part, tensor in layer.state_dict().items() if tensor is not None}
        found[name] = layer(torch.eye(columns, dtype=torch.float16)).t()
    section = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": ordered, "sym": False}
    save(folder, model, packed, {"quantization_config": section})
    return found


# Of each preset scheme, as llm-compressor stores it.
FORMS = {
    "W4A16": "pack-quantized", "W4A16_ASYM": "pack-quantized", "W8A16": "pack-quantized", "W8A8": "int-quantized",
    "FP8": "float-quantized", "FP8_DYNAMIC": "float-quantized", "NVFP4A16": "nvfp4-pack-quantized",
    "MXFP4A16": "mxfp4-pack-quantized",
}  # fmt: skip


def compressed_tensors(folder: Path, scheme: str) -> Truth:
    """Its own compressor of a whole model, of a preset scheme, and its own decompression."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    model = small_llama()
    packed, found = {}, {}
    chosen = preset_name_to_scheme(scheme, ["Linear"])
    if (chosen.weights.group_size or 0) > 64:  # more than the small model's channels
        chosen.weights = chosen.weights.model_copy(update={"group_size": 64})
    arguments = chosen.weights
    chosen.format = form = FORMS[scheme]
    compressor = BaseCompressor.get_value_from_registry(form)
    for name, one in linears(model).items():
        weight = one.weight.data
        groups = weight.unflatten(-1, (-1, arguments.group_size)) if arguments.group_size else weight
        over = None if arguments.strategy == "tensor" else -1
        low, high = (
            (groups.amin(over), groups.amax(over)) if over else (groups.amin()[None], groups.amax()[None])
        )
        state = {"weight": weight}
        if form.startswith("nvfp4"):
            state["weight_global_scale"] = generate_gparam(weight.amin(), weight.amax())
        scale, zero = calculate_qparams(low, high, arguments, state.get("weight_global_scale"))
        scale = scale[:, None] if arguments.strategy == "channel" else scale
        zero = zero[:, None] if arguments.strategy == "channel" else zero
        state = compressor.compress({**state, "weight_scale": scale, "weight_zero_point": zero}, chosen)
        packed[name] = dict(state)
        found[name] = compressor.decompress(dict(state), chosen)["weight"]
    group = {"targets": ["Linear"], **json.loads(chosen.model_dump_json(exclude={"targets"}))}
    section = {
        "quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
        "config_groups": {"group_0": group}, "ignore": ["lm_head"],
    }  # fmt: skip
    save(folder, model, packed, {"quantization_config": section})
    return found


_NF4 = {"bnb_4bit_quant_type": "nf4"}
JUDGES: Mapping[str, tuple[str, Callable[[Path], Truth]]] = {
    "bitsandbytes nf4, double": ("bitsandbytes", lambda f: bitsandbytes(f, **_NF4, bnb_4bit_use_double_quant=True)),
    "bitsandbytes nf4": ("bitsandbytes", lambda f: bitsandbytes(f, **_NF4)),
    "bitsandbytes nf4, experts": ("bitsandbytes", bitsandbytes_experts),
    "bitsandbytes fp4": ("bitsandbytes", lambda f: bitsandbytes(f, bnb_4bit_quant_type="fp4")),
    "bitsandbytes int8": ("bitsandbytes", lambda f: bitsandbytes(f, load_in_8bit=True)),
    "torchao int8": ("torchao", lambda f: torchao(f, "Int8WeightOnlyConfig")),
    "torchao float8": ("torchao", lambda f: torchao(f, "Float8WeightOnlyConfig")),
    "quanto int8": ("optimum-quanto", lambda f: quanto(f, "qint8")),
    "quanto float8": ("optimum-quanto", lambda f: quanto(f, "qfloat8")),
    **{f"MLX affine, {bits} bits": ("mlx", lambda f, b=bits: mlx(f, b, 64)) for bits in (2, 3, 4, 5, 6, 8)},
    "MLX mxfp4": ("mlx", lambda f: mlx(f, 4, 32, "mxfp4")),
    "MLX mxfp8": ("mlx", lambda f: mlx(f, 8, 32, "mxfp8")),
    "MLX nvfp4": ("mlx", lambda f: mlx(f, 4, 16, "nvfp4")),
    "AWQ gemm": ("autoawq", lambda f: awq(f, "gemm")),
    "AWQ gemv": ("autoawq", lambda f: awq(f, "gemv")),
    **{f"GPTQ, {bits} bits": ("auto_gptq", lambda f, b=bits: gptq(f, b)) for bits in (2, 3, 4, 8)},
    "GPTQ, 4 bits, act-order": ("auto_gptq", lambda f: gptq(f, 4, ordered=True)),
    **{
        f"compressed-tensors {name}": ("compressed-tensors", lambda f, n=name: compressed_tensors(f, n))
        for name in FORMS
    },
    **other_judges.JUDGES,
}  # fmt: skip


def judge(name: str, folder: Path) -> None:
    """In the child: writes the checkpoint, and beside it what the library says it stands for."""
    from safetensors.torch import save_file

    (folder / PACKED).mkdir()
    found = JUDGES[name][1](folder / PACKED)
    stored = {name for path in (folder / PACKED).glob("*.safetensors") for name in _read(path)}
    # Experts that are stacked in one tensor have no `.weight` below them.
    names = {module: module if module in stored else f"{module}.weight" for module in found}
    save_file({names[m]: weight.detach().contiguous() for m, weight in found.items()}, folder / TRUTH)


def packed_in(folder: Path) -> Path:
    """What a library wrote there: a folder, or the one file of llama.cpp's format in it."""
    return next((folder / PACKED).glob("*.gguf"), folder / PACKED)


def compared(folder: Path) -> str:
    """How our plain weights and theirs agree, in a few words."""
    from safetensors.torch import load_file

    truth = load_file(folder / TRUTH)
    weightsmith.convert(packed_in(folder), folder / "out", converter="dequant", dtype="float32")
    ours = {k: t for path in (folder / "out").glob("*.safetensors") for k, t in load_file(path).items()}
    lacking = truth.keys() - ours.keys()
    if lacking:
        return f"{len(lacking)} weights are not there"
    worst, same, total = 0.0, 0, 0
    for name, theirs in truth.items():
        mine = ours[name].to(theirs.dtype)
        if mine.shape != theirs.shape:
            return f"{name}: {list(mine.shape)}, theirs {list(theirs.shape)}"
        same, total = same + int((mine == theirs).sum()), total + theirs.numel()
        worst = max(worst, float((mine.float() - theirs.float()).abs().max() / theirs.float().abs().max()))
    if same == total:
        return f"all {total:,} numbers the same"
    return f"{same / total:.2%} the same, the others within {worst:.1e} of the largest"


def record(name: str, made: Path, folder: Path) -> None:
    """Keeps a checkpoint for tests, with the dtype and the hash of each weight as the library has it."""
    import torch
    from safetensors.torch import load_file

    kept = folder / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(made / PACKED, kept, ignore=shutil.ignore_patterns("generation_config.json", "README.md"))
    stated = {}
    for weight_of, weight in sorted(load_file(made / TRUTH).items()):
        raw = weight.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        stated[weight_of] = [str(weight.dtype).removeprefix("torch."), bytes_hash(raw)]
    (kept / "truth.json").write_text(json.dumps(stated, indent=1) + "\n")


def asked_to_pack(name: str, folder: Path, beside: str, *, small: bool = False) -> str | None:
    """Lets a library fill the folder in a child of its own. Returns why it could not, in its last words."""
    environment = {**os.environ, "PYTHONPATH": f"{beside}{os.pathsep}{Path.cwd()}", "HF_HUB_OFFLINE": "1"}
    environment |= {"SMALL": "1"} if small else {}
    command = [sys.executable, "-m", "benchmarks.schemes.judges", "--one", name, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or "?").splitlines()[-1] if done.returncode else None


def version_of(name: str, beside: str) -> str:
    """Of the library that judges; empty where it is not there."""
    package = JUDGES[name][0].replace("-", "_")
    found = importlib.metadata.distributions(path=[*beside.split(os.pathsep), *sys.path])
    return next((one.version for one in found if one.name.lower().replace("-", "_") == package), "")


def row(name: str, beside: str, kept: Path | None = None) -> tuple[str, str, str]:
    """One library's word, compared with ours. kept: where a small model is kept instead."""
    version = version_of(name, beside)
    with tempfile.TemporaryDirectory() as made:
        said = asked_to_pack(name, Path(made), beside, small=kept is not None)
        if said is not None:
            return name, version, f"cannot be run here: {said[:110]}"
        if kept is not None:
            record(name, Path(made), kept)
        try:
            return name, version, compared(Path(made))
        except weightsmith.WeightsmithError as error:
            return name, version, f"refused: {error.fact[:110]}"


def beside_us(folders: str) -> str:
    """The folders of what is not in our environment; gguf, which dequant asks, is found in them from now on."""
    found = [Path(each).absolute() for each in folders.split(os.pathsep) if each]
    sys.path += [str(each) for each in found if (each / "gguf").is_dir()][:1]
    return os.pathsep.join(map(str, found))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-judges", description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FOLDER"))
    parser.add_argument(
        "--record", type=Path, metavar="FOLDER", help="keep small checkpoints there, for tests"
    )
    parser.add_argument("--only", help="rows whose name has this in it")
    parser.add_argument(
        "beside", nargs="?", default="", help="where the libraries lie; several with a colon between"
    )
    asked = parser.parse_args()
    if asked.one:
        judge(asked.one[0], Path(asked.one[1]))
        return
    beside = beside_us(asked.beside)
    rows = []
    for name in JUDGES:
        if (asked.only or "") in name:
            rows.append(row(name, beside, asked.record))
            sys.stderr.write(f"{': '.join(rows[-1])}\n")
    print(tabulate(rows, ["packed by", "version", "our numbers and theirs"], maxcolwidths=[26, 10, 42]))


if __name__ == "__main__":
    main()
