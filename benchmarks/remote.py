"""`make bench-remote`: infer-config on remote checkpoints of full size, beside the same read from the disk.

A hub on the loopback device answers, once at once and once after 50 ms, as one across a continent does. What is told of
it: requests for weights, all requests, the bytes that came, and the seconds of the whole process. The files are full
size but sparse; no byte of their data is asked for, but of a head and an embedding that could be one. The peer is
huggingface_hub, which reads the headers of safetensors alone and derives nothing of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tabulate import tabulate

from benchmarks.infer import untie
from benchmarks.processes import measure
from benchmarks.scale import DEEPSEEK, SHARDS, deepseek, write
from tests.checkpoint.headers import write_headers_only
from tests.remote.hub import Hub, serving
from tests.shapes.reference import reference_shapes
from tests.shapes.test_field_reports import BITCPM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.remote.hub import Answer, Asked

ROUNDS, ACCEPTED = 3, frozenset({0, 1})
WEIGHTS = re.compile(r"\.(safetensors|bin)$")
PEER = [sys.executable, "-c", "import sys, huggingface_hub as h; h.get_safetensors_metadata(sys.argv[1])"]
FAR = 0.05


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint of the table. files: of its weights."""

    label: str
    name: str
    files: int


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        sources = _made(Path(name))
        hub = Hub({source.name: Path(name, source.name) for source in sources})
        with serving(hub):
            os.environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(Path(name, "home"))}
            os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "", "no_proxy": "127.0.0.1"}
            rows = [row for source in sources for row in _rows(hub, Path(name), source)]
    headers = ["infer-config", "of weights", "a file", "all", "MB", "seconds", "from the disk"]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    print(
        "goals: a torch zip in 3 requests, a shard in at most 4, DeepSeek-V3's shape in at most 3 s without delay"
    )


def _made(folder: Path) -> list[Source]:
    shapes = reference_shapes("llama", BITCPM)
    config = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **BITCPM})
    for kind in ("safetensors", "bin"):
        write_headers_only(folder / "org" / kind, shapes, format=kind)
        untie(folder / "org" / kind)
        (folder / "org" / kind / "config.json").write_text(config)
    sharded = folder / "org" / "deepseek"
    sharded.mkdir()
    write(sharded, deepseek(61), {"model_type": "deepseek_v3", **DEEPSEEK})
    return [
        Source("BitCPM4-CANN-1B, safetensors", "org/safetensors", 1),
        Source("BitCPM4-CANN-1B, torch zip", "org/bin", 1),
        Source("DeepSeek-V3", "org/deepseek", SHARDS),
    ]


def _rows(hub: Hub, folder: Path, source: Source) -> list[tuple[object, ...]]:
    ours = [sys.executable, "-m", "weightsmith.cli", "infer-config"]
    local = measure({"": [*ours, str(folder / source.name)]}, ROUNDS, ACCEPTED)[""].seconds
    rows = []
    for delay in (0.0, FAR):
        away = f", {1000 * delay:.0f} ms away" if delay else ""
        hub.fault = _delayed(delay)
        told = _measured(hub, [*ours, f"hf://{source.name}"], source)
        rows.append((f"{source.label}{away}", *told, f"{local:.2f}"))
        if source.name != "org/bin":
            rows.append(("  huggingface_hub", *_measured(hub, [*PEER, source.name], source), ""))
    return rows


def _measured(hub: Hub, command: Sequence[str], source: Source) -> tuple[object, ...]:
    """Requests for weights, of these for each file, all requests, MB, seconds."""

    def forget() -> None:
        """Also what the peer has put into its cache, from which we would read it."""
        hub.forget()
        shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)

    seconds = measure({"": command}, ROUNDS, ACCEPTED, forget)[""].seconds
    weights = [one for one in hub.asked if not one.is_listing and WEIGHTS.search(urlsplit(one.path).path)]
    sent = sum(one.sent for one in hub.asked) / 1e6
    return len(weights), f"{len(weights) / source.files:.1f}", len(hub.asked), f"{sent:.2f}", f"{seconds:.2f}"


def _delayed(seconds: float) -> Callable[[Asked, Answer], None]:
    def fault(_: Asked, answer: Answer) -> None:
        answer.pause = seconds

    return fault


if __name__ == "__main__":
    main()
