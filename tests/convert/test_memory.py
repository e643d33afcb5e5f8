"""Memory is bounded by the pieces in flight, not by the size of the checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

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
