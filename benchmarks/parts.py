"""`make bench-parts`: how long the plan of a 671-billion-parameter conversion takes, and what it foretells.

The source has DeepSeek-V3's names and shapes in 163 shards, all of it holes: nothing of its numbers is measured, only
what is done before any are read, and what a dry run says on a Ray cluster of this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scale import DEEPSEEK, deepseek, write
from tests.convert.on_ray import RAY, with_ray

PARTS = 64


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "model"), Path(name, "out")
        source.mkdir()
        write(source, deepseek(61), {"model_type": "deepseek_v3", **DEEPSEEK})
        for label, options in (("the whole plan", []), (f"one part of {PARTS}", ["--part", f"7/{PARTS}"])):
            document, seconds = dry_run(source, target, options)
            size, files = document["bytes"]["written"] / 1e9, len(document["files"])
            print(f"{label}: {seconds:.1f} s; {size:,.0f} GB in {files} files", flush=True)
        if not RAY.is_dir():
            print("Ray is not beside the environment: make test puts it there")
            return
        document, seconds = dry_run(source, target, ["--on", "ray=local", "--workers", "1"])
        for node in document["nodes"]:
            size, rate = node["bytes"] / 1e9, node["bytes_per_second"] / 1e6
            print(
                f"on Ray, {seconds:.0f} s with its start: {node['at_once']} parts at once, {size:,.0f} GB at "
                f"{rate:,.0f} MB/s, {node['seconds'] / 3600:.1f} h without what the disk takes"
            )


def dry_run(source: Path, target: Path, options: list[str]) -> tuple[Any, float]:
    """(the document, seconds of the whole process)."""
    command = [
        sys.executable,
        "-m",
        "weightsmith",
        "convert",
        str(source),
        str(target),
        "--converter",
        "plain",
    ]
    command += ["--dry-run", "--json", *options]
    began = time.monotonic()
    done = subprocess.run(command, env=with_ray(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout), time.monotonic() - began


if __name__ == "__main__":
    main()
