"""How a patch comes into the engine: a general plugin of vLLM's, found on PYTHONPATH by its entry point alone.

vLLM calls `register` in each of its processes before it builds anything. Neither Weightsmith nor the reference in
transformers sees anything of it: they load no plugins of vLLM's.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "WEIGHTSMITH_BENCH_FAULT"
_ROOT = Path(__file__).resolve().parents[2]


def install(folder: Path) -> None:
    """Writes the metadata of a package into `folder`: all that importlib.metadata asks for."""
    about = folder / "weightsmith_bench_faults-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: weightsmith-bench-faults\nVersion: 1\n", encoding="utf-8"
    )
    (about / "entry_points.txt").write_text(
        f"[vllm.general_plugins]\nweightsmith_bench_faults = {__name__}:register\n", encoding="utf-8"
    )


def environment(folder: Path, patch: str) -> dict[str, str]:
    """Variables of a process whose engine is to be patched. folder: where `install` wrote."""
    return {VARIABLE: patch, "PYTHONPATH": os.pathsep.join((str(folder), str(_ROOT)))}


def register() -> None:
    """Called by vLLM. A patch that does not fit this vLLM is printed by it and shows as a fault that nobody saw."""
    name = os.environ.get(VARIABLE)
    if name is None:  # a sound model, in a process that others of these are forked from, too
        return
    from benchmarks.faults.behaviour import PATCHES
    from benchmarks.faults.engine_faults import BREAKDOWNS
    from benchmarks.faults.salad import SALAD
    from benchmarks.faults.serving import ARRANGED

    (PATCHES | BREAKDOWNS | ARRANGED | SALAD)[name]()
