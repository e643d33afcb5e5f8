"""Opening costs what its headers cost: no data is read, no heavy module is imported, time grows with the tensors."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from tests.checkpoint.headers import write_headers_only
from weightsmith.checkpoint import open_checkpoint

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
import json, sys, time
from pathlib import Path
from weightsmith.checkpoint import open_checkpoint
table = open_checkpoint(Path(sys.argv[1]))
heavy = {"numpy", "torch", "safetensors", "asyncio", "multiprocessing", "zipfile", "pickle"} & set(sys.modules)
# Not ru_maxrss: a child inherits its parent's.
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps([len(table.tensors), table.nbytes, time.process_time(), peak, sorted(heavy)]))
"""


def alone(path):
    """Opens `path` in a process of its own: tensors, bytes, CPU seconds since its start, peak MB, heavy modules."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


def test_three_gigabytes_of_bin_open_in_a_tenth_of_a_second(tmp_path):
    write_headers_only(tmp_path, BITCPM, format="bin")
    tensors, nbytes, seconds, peak, heavy = alone(tmp_path)
    assert tensors == len(BITCPM) and nbytes > 3.2e9
    assert heavy == []
    # Measured: 0.06 s and 14 MB. The bound leaves room for a busy machine.
    assert seconds < 0.3 and peak < 40


def expert_shapes(count):
    return {
        f"model.layers.{i // 768}.mlp.experts.{i // 3 % 256}.w{i % 3}.weight": (2048, 7168)
        for i in range(count)
    }


def test_ninety_thousand_tensors_in_a_hundred_shards_open_in_a_second_or_so(tmp_path):
    write_headers_only(tmp_path, expert_shapes(91_000), shards=163)
    tensors, _, seconds, peak, heavy = alone(tmp_path)
    # Measured: 0.75 s and 110 MB alone on the machine.
    assert tensors == 91_000 and seconds < 3 and peak < 200 and heavy == []


def test_time_grows_with_the_number_of_tensors_and_not_faster(tmp_path):
    seconds = []
    for count in (4_000, 32_000):
        write_headers_only(tmp_path / str(count), expert_shapes(count))
        start = time.process_time()
        open_checkpoint(tmp_path / str(count))
        seconds.append(time.process_time() - start)
    # Eight times the tensors: measured 9 to 12 times the time (the garbage collector's share); quadratic is 64.
    assert seconds[1] < 32 * seconds[0]
