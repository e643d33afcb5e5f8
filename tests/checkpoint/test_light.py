"""Opening costs what its headers cost: no data is read and no heavy module is imported. Speed: `make bench-infer`."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.checkpoint.headers import write_headers_only

# BitCPM4-CANN-1B, the shape of the 3.2 GB .bin in the field reports.
LAYER = {
    "self_attn.q_proj": (2048, 2048),
    "self_attn.k_proj": (256, 2048),
    "self_attn.v_proj": (256, 2048),
    "self_attn.o_proj": (2048, 2048),
    "mlp.gate_proj": (6144, 2048),
    "mlp.up_proj": (6144, 2048),
    "mlp.down_proj": (2048, 6144),
    "input_layernorm": (2048,),
    "post_attention_layernorm": (2048,),
}
BITCPM = {f"model.layers.{i}.{name}.weight": shape for i in range(28) for name, shape in LAYER.items()}
BITCPM |= {
    "model.embed_tokens.weight": (73448, 2048),
    "lm_head.weight": (73448, 2048),
    "model.norm.weight": (2048,),
}

PROGRAM = """
import json, sys
from pathlib import Path
from weightsmith.checkpoint import open_checkpoint
table = open_checkpoint(Path(sys.argv[1]))
heavy = {"numpy", "torch", "safetensors", "asyncio", "multiprocessing", "zipfile", "pickle"} & set(sys.modules)
# Not ru_maxrss: a child inherits its parent's.
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps([len(table.tensors), table.nbytes, peak, sorted(heavy)]))
"""


def alone(path):
    """Opens `path` in a process of its own: tensors, bytes, peak MB, heavy modules."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


def test_three_gigabytes_of_bin_open_in_a_few_megabytes(tmp_path):
    write_headers_only(tmp_path, BITCPM, format="bin")
    tensors, nbytes, peak, heavy = alone(tmp_path)
    assert tensors == len(BITCPM) and nbytes > 3.2e9
    assert heavy == []
    assert peak < 40  # measured: 14


def expert_shapes(count):
    return {
        f"model.layers.{i // 768}.mlp.experts.{i // 3 % 256}.w{i % 3}.weight": (2048, 7168)
        for i in range(count)
    }


def test_ninety_thousand_tensors_in_a_hundred_shards_stay_small(tmp_path):
    write_headers_only(tmp_path, expert_shapes(91_000), shards=163)
    tensors, _, peak, heavy = alone(tmp_path)
    assert tensors == 91_000 and heavy == []
    assert peak < 200  # measured: 110
