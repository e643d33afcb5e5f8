"""Memory and open files are bounded by the pieces in flight, not by the size of the checkpoint or its shards."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from weightsmith.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTE = 1 << 20


def sparse_source(folder: Path, megabytes: int) -> Path:
    """One linear weight of so many megabytes of zeros that take no disk."""
    rows = megabytes * MEGABYTE // 2 // 4096
    size = rows * 4096 * 2
    entry = {"dtype": "BF16", "shape": [rows, 4096], "data_offsets": [0, size]}
    header = json.dumps({"model.layers.0.mlp.up_proj.weight": entry}).encode()
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    return folder


@pytest.mark.parametrize(
    "order", ["converter='plain'", "converter='plain', dtype='float32'", "converter='ternary'"]
)
def test_half_a_gigabyte_needs_a_fraction_of_it(tmp_path: Path, order: str) -> None:
    source = sparse_source(tmp_path / "source", 512)
    options = ", options={'group_size': '128'}" if "ternary" in order else ""
    code = (
        "import sys\nfrom pathlib import Path\nfrom weightsmith.convert import convert\n"
        f"convert(Path(sys.argv[1]), Path(sys.argv[2]), workers=4, {order}{options})\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    # VmHWM, because the peak that getrusage gives is inherited from the process that started this one.
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "out")]
    peak = int(subprocess.check_output(command, text=True)) / 1024
    assert peak < 200, f"{order}: {peak:.0f} MB resident"


def test_hundreds_of_shards_need_few_open_files(tmp_path: Path) -> None:
    """300 shards on both sides in a process that may open 32 files, with four workers."""
    source = tmp_path / "source"
    source.mkdir()
    tensors = {f"model.layers.{n}.mlp.up_proj.weight": torch.randn(32, 128).bfloat16() for n in range(300)}
    weight_map = {}
    for number, (name, tensor) in enumerate(tensors.items(), 1):
        weight_map[name] = f"model-{number:05d}-of-00300.safetensors"
        save_file({name: tensor}, source / weight_map[name])
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from weightsmith.checkpoint import open_checkpoint\n"
        "from weightsmith.convert import convert\nfrom weightsmith.values.value_survey import survey_values\n"
        "import weightsmith.converters, weightsmith.values.inspection\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))\n"
        "survey_values(open_checkpoint(Path(sys.argv[1])), workers=4)\n"
        "convert(Path(sys.argv[1]), Path(sys.argv[2]), converter='ternary', options={'group_size': '128'},\n"
        "        workers=4, max_shard_size='9KB')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(source), str(tmp_path / "out")], check=True)
    assert len(open_checkpoint(tmp_path / "out").files) == 300


def test_the_ranks_of_a_run_need_a_fraction_of_it(tmp_path: Path) -> None:
    """Two ranks of Megatron, whose halves of rows and columns make each matrix: 260 MB."""
    hidden, inner, words = 2048, 16384, 256
    layer = "decoder.layers.0."
    shapes = {
        "embedding.word_embeddings.weight": (words // 2, hidden),
        "output_layer.weight": (words // 2, hidden),
        "decoder.final_layernorm.weight": (hidden,),
        f"{layer}input_layernorm.weight": (hidden,),
        f"{layer}self_attention.linear_qkv.weight": (hidden, hidden),
        f"{layer}self_attention.linear_proj.weight": (hidden, hidden // 2),
        f"{layer}self_attention.q_layernorm.weight": (128,),
        f"{layer}self_attention.k_layernorm.weight": (128,),
        f"{layer}pre_mlp_layernorm.weight": (hidden,),
        f"{layer}mlp.linear_fc1.weight": (inner, hidden),
        f"{layer}mlp.linear_fc2.weight": (hidden, inner // 2),
    }
    for rank in range(2):
        folder = tmp_path / f"source/mp_rank_0{rank}"
        folder.mkdir(parents=True)
        state = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
        torch.save({"model": state}, folder / "model_optim_rng.pt")
    code = (
        "import sys\nfrom pathlib import Path\nfrom weightsmith.convert import convert\n"
        "done = convert(Path(sys.argv[1]), Path(sys.argv[2]), workers=4, accept_guesses=True)\n"
        "assert done.bytes_written > 220_000_000\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "source"), str(tmp_path / "out")]
    peak = int(subprocess.check_output(command, text=True)) / 1024
    assert peak < 180, f"{peak:.0f} MB resident"
