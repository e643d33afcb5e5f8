"""Every scheme on a small Llama: made plain, and loaded by vLLM's CPU build. `python -m benchmarks.schemes.loads`.

An engine is started on each output, and four tokens must come of it. Beside it stands what `fits` says of the packed
checkpoint on vllm-ascend.
"""

from __future__ import annotations

import gc
import json
import os
import re
import struct
import sys
import tempfile
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tabulate import tabulate

import weightsmith
from tests.shapes.test_packed import CONFIG, GROUP, QUANTIZED, parts, plain
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Parts = dict[str, tuple[str, tuple[int, ...]]]
_AWQ = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemv"}}
MORE: Mapping[str, tuple[dict[str, object], Callable[[int, int], Parts]]] = {
    "awq gemv": (_AWQ, lambda n, k: {
        "qweight": ("I32", (n, k // 8)), "scales": ("F16", (n, 16)), "qzeros": ("I32", (n, 2))}),
    "mlx affine": ({"quantization": {"group_size": 64, "bits": 4}}, lambda n, k: {
        "weight": ("U32", (n, k // 8)), "scales": ("F16", (n, k // 64)), "biases": ("F16", (n, k // 64))}),
    "mlx mxfp4": ({"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}, lambda n, k: {
        "weight": ("U32", (n, k // 8)), "scales": ("U8", (n, k // 32))}),
    "W4A8_MXFP": ({}, lambda n, k: {"weight": ("U8", (n, k // 2)), "weight_scale": ("U8", (n, k // 32))}),
    "W8A8_MXFP8": ({}, lambda n, k: {"weight": ("F8_E4M3", (n, k)), "weight_scale": ("U8", (n, k // 32))}),
    "W4A8_DYNAMIC": ({}, lambda n, k: {
        "weight": ("I8", (n // 2, k)), "weight_scale": ("F32", (n, 1)), "weight_offset": ("F32", (n, 1)),
        "scale_bias": ("F32", (n, 1))}),
    "W8A8": ({}, lambda n, k: {
        "weight": ("I8", (n, k)), "deq_scale": ("F32", (n,)), "input_scale": ("F32", (1,)),
        "input_offset": ("I8", (1,)), "quant_bias": ("I32", (n,))}),
}  # fmt: skip
# What ModelSlim's description calls them.
MODES = {name: name for name in ("W4A8_MXFP", "W8A8_MXFP8", "W4A8_DYNAMIC", "W8A8")} | {
    "modelslim": "W8A8_DYNAMIC"
}
# Longest words of an error that a cell shows.
_SHOWN = 90
ZERO = ("weight_offset", "quant_bias", "scale_bias", "input_offset", "weight_format", "weight_zero_point")
random = np.random.default_rng(0)


def numbers(name: str, dtype: str, shape: tuple[int, ...], full: tuple[int, int]) -> bytes:
    """The bytes of a tensor that a quantizer could have written."""
    last, count = name.rpartition(".")[2], prod(shape)
    if last == "weight_shape":
        return np.array(full, np.int64).tobytes()
    if last == "g_idx":
        return (np.arange(count) // GROUP).astype(np.int32).tobytes()
    if last in ZERO:
        return bytes(count * BITS[dtype] // 8)
    if dtype == "F8_E4M3" or (dtype == "U8" and "scale" in last):
        return random.integers(110, 120, count).astype(np.uint8).tobytes()
    if dtype in ("BF16", "F16", "F32"):
        singles = (random.random(count) * 0.01 + 0.001).astype(np.float32)
        if dtype == "BF16":
            return (singles.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        return singles.astype(np.float16 if dtype == "F16" else np.float32).tobytes()
    if name.endswith("weight") and dtype == "U8" and len(shape) == 2 and shape[0] * 4 == full[0]:
        return (
            (random.integers(0, 3, (4, count)) << np.array([[0], [2], [4], [6]]))
            .sum(0)
            .astype(np.uint8)
            .tobytes()
        )
    return random.integers(0, 256, count * BITS[dtype] // 8).astype(np.uint8).tobytes()


def write(
    folder: Path, of: Callable[[int, int], Parts], config: Mapping[str, object], mode: str | None
) -> Path:
    """The Llama of `CONFIG`, every layer's linear weights stored in such parts. mode: for ModelSlim's description."""
    header: dict[str, object] = {}
    described = {"model_quant_type": mode, "version": "1.0.0"}
    data = b""
    for name, shape in plain().items():
        packed = "proj" in name and len(shape) == 2
        full = (shape[0], shape[-1]) if packed else (0, 0)
        stored = of(*full) if packed else {"weight": ("BF16", shape)}
        for part, (dtype, size) in stored.items():
            whole = name.removesuffix("weight") + part
            raw = numbers(whole, dtype, size, full)
            header[whole] = {"dtype": dtype, "shape": size, "data_offsets": [len(data), len(data) + len(raw)]}
            described[whole] = mode if packed else "FLOAT"
            data += raw
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "dtype": "bfloat16", **config}))
    if mode is not None:
        (folder / "quant_model_description.json").write_text(json.dumps(described))
    return folder


def converted(folder: Path) -> dict[str, Path | str]:
    """Each scheme's output, or why there is none."""
    cases: dict[str, tuple[dict[str, object], Callable[[int, int], Parts]]] = {}
    for name, stated in QUANTIZED.items():
        stated = {**stated, "linear_class": "autobitlinear"} if name == "bitnet" else stated
        cases[name] = ({"quantization_config": stated} if stated else {}, partial(parts, name))
    found: dict[str, Path | str] = {}
    for number, (name, (config, of)) in enumerate({**cases, **MORE}.items()):
        source = write(folder / f"{number}-packed", of, config, MODES.get(name))
        try:
            weightsmith.convert(source, folder / f"{number}", converter="dequant", dtype="bfloat16")
            found[name] = folder / f"{number}"
        except WeightsmithError as error:
            found[name] = str(error)
    return found


def prepare_engine() -> None:
    """What vLLM reads of the environment when it is imported."""
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
    }


def started(folder: Path) -> str:
    """Whether vLLM for CPU starts on a checkpoint and says four tokens; else why not, in the last words of its error.

    An engine for each: since vLLM 0.32 a CPU's linear layers give their weights away once they are loaded.
    """
    from vllm import LLM, SamplingParams
    from vllm.distributed import cleanup_dist_env_and_memory

    sampling = SamplingParams(max_tokens=4, temperature=0, detokenize=False, logprobs=1)
    try:
        engine = LLM(str(folder), dtype="bfloat16", enforce_eager=True, max_model_len=64, skip_tokenizer_init=True,
                     max_num_seqs=1)  # fmt: skip
        answer = engine.generate([{"prompt_token_ids": [1, 2, 3]}], sampling, use_tqdm=False)[0].outputs[0]
        return "yes" if np.isfinite(answer.cumulative_logprob) else "no finite logits"
    except Exception as error:
        words = re.sub(r"\s+", " ", str(error).strip()) or type(error).__name__
        words = re.sub(r"^.*Value error, ", "", words).replace(str(folder.parent), "…")
        return f"no: {words[:_SHOWN]}"
    finally:
        gc.collect()
        cleanup_dist_env_and_memory()


def on_ascend(folder: Path) -> str:
    """What `fits` says of the packed checkpoint."""
    try:
        answer = weightsmith.fits(folder, on="vllm-ascend", chip="910B")
    except WeightsmithError as error:
        return error.fact
    reasons = [reason.code for reason in answer.reasons if reason.weight == "refused"]
    return ", ".join(reasons) or "yes"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        made = converted(Path(name))
        outputs = {scheme: path for scheme, path in made.items() if isinstance(path, Path)}
        prepare_engine()
        answers = (
            {name: started(path) for name, path in outputs.items()} if "--no-engine" not in sys.argv else {}
        )
        rows = [
            (scheme, "yes" if scheme in outputs else made[scheme], answers.get(scheme, ""),
             on_ascend(outputs[scheme].with_name(f"{outputs[scheme].name}-packed")) if scheme in outputs else "")
            for scheme in made
        ]  # fmt: skip
    headers = ["scheme", "to bf16", "vLLM CPU", "packed on vllm-ascend"]
    print(tabulate(rows, headers, maxcolwidths=[24, 20, 10, 22]))


if __name__ == "__main__":
    main()
