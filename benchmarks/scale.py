"""`make bench-shapes` ends with this: whole-process time and memory of infer-config at the scale of DeepSeek-V3.

61 layers, 256 experts, FP8 blocks with their scales, one draft layer: about 91,000 tensors in 163 shards,
headers only. Half of the layers are measured beside it: the cost must grow linearly with the tensors.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.processes import measure
from tests.checkpoint.headers import write_safetensors
from tests.shapes.test_recognition import table
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.page.predict import predict

ROUNDS = 3
SHARDS = 163
BLOCK = 128
DEEPSEEK: dict[str, Any] = {
    "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "first_k_dense_replace": 3,
    "vocab_size": 129280, "attention_bias": False, "tie_word_embeddings": False,
}  # fmt: skip

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def deepseek(layers: int) -> Tensors:
    """Name → (dtype, shape), as deepseek-ai/DeepSeek-V3 stores them."""
    page = load_page("deepseek_v3")
    values = {name: field.value for name, field in page.fields.items()} | DEEPSEEK
    with_draft = predict(next(iter(page.layouts.values())), {**values, "num_hidden_layers": layers + 1})
    found: Tensors = {}
    for name, shape in with_draft.items():
        packed = name.endswith("_proj.weight") or name.endswith("kv_a_proj_with_mqa.weight")
        found[name] = ("F8_E4M3" if packed else "BF16", shape)
        if packed:
            found[f"{name}_scale_inv"] = ("F32", tuple(-(-size // BLOCK) for size in shape))
    draft, hidden = f"model.layers.{layers}.", DEEPSEEK["hidden_size"]
    found |= {f"{draft}{n}.weight": ("BF16", (hidden,)) for n in ("enorm", "hnorm", "shared_head.norm")}
    found[f"{draft}eh_proj.weight"] = ("BF16", (hidden, 2 * hidden))
    return found


def write(folder: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    names = list(tensors)
    share = -(-len(names) // SHARDS)
    weight_map: dict[str, str] = {}
    for number in range(SHARDS):
        part = names[number * share : (number + 1) * share]
        if not part:
            break
        path = folder / f"model-{number + 1:05d}-of-{SHARDS:06d}.safetensors"
        _write_mixed(path, {name: tensors[name] for name in part})
        weight_map |= dict.fromkeys(part, path.name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def _write_mixed(path: Path, tensors: Tensors) -> None:
    """One file whose header names several dtypes, the widest first as the format wants it."""
    ordered = sorted(tensors.items(), key=lambda item: -BITS[item[1][0]])
    if len({dtype for dtype, _ in tensors.values()}) == 1:
        write_safetensors(path, {name: shape for name, (_, shape) in ordered}, ordered[0][1][0])
        return
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in ordered:
        count = 1
        for size in shape:
            count *= size
        start, end = end, end + count * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + end)


def report() -> str:
    """The table of figures, as text."""
    with tempfile.TemporaryDirectory() as name:
        commands, counts = {}, {}
        for label, layers in (("DeepSeek-V3", 61), ("half of its layers", 30)):
            for told in (True, False):
                folder = Path(name) / f"{layers}-{told}"
                folder.mkdir()
                tensors = deepseek(layers)
                config = {"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], **DEEPSEEK}
                write(folder, tensors, {**config, "num_hidden_layers": layers + 2})
                if not told:
                    (folder / "config.json").unlink()
                row = f"{label}, {'with a wrong' if told else 'without'} config"
                counts[row] = len(tensors)
                commands[row] = [sys.executable, "-m", "weightsmith.cli", "infer-config", str(folder)]
        figures = measure(commands, ROUNDS, frozenset({0, 1}))
    rows = [
        (row, counts[row], f"{f.seconds:.2f}", f"{1e6 * f.seconds / counts[row]:.0f}", f"{f.megabytes:.0f}")
        for row, f in figures.items()
    ]
    headers = ["whole process", "tensors", "seconds", "us per tensor", "peak MB"]
    return tabulate(rows, headers=headers, disable_numparse=True) + "\ngoals: at most 3 s and 400 MB"


_FIND = """
import sys, time
from pathlib import Path
from weightsmith.checkpoint import open_checkpoint
from weightsmith.shapes import infer
table = open_checkpoint(Path(sys.argv[1]))
start = time.perf_counter()
found = infer(table, None)
print(found.architecture.model_type, 1000 * (time.perf_counter() - start))
"""
_FAMILIES = ("llama", "qwen3_moe", "deepseek_v3", "gpt2", "bert")


def finding() -> str:
    """Milliseconds from an opened table to the config of a checkpoint that has none: index, pages, solving; a cold
    process each time."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for model_type in _FAMILIES:
            path = Path(name, f"{model_type}.safetensors")
            write_safetensors(path, table(model_type), "BF16")
            command = [sys.executable, "-c", _FIND, str(path)]
            told = [subprocess.check_output(command, text=True).split() for _ in range(ROUNDS)]
            rows.append((model_type, told[0][0], f"{statistics.median(float(t) for _, t in told):.0f}"))
    headers = ["checkpoint without config", "found", "ms"]
    return (
        tabulate(rows, headers=headers, disable_numparse=True)
        + "\ngoal: at most 150 ms, over the whole catalog"
    )


if __name__ == "__main__":
    print(report())
    print(finding())
