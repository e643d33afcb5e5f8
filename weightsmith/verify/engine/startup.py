"""What an engine says of its own loading: the lines of its log that name seconds and sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from weightsmith.records import Record


@dataclass(frozen=True, slots=True)
class Startup(Record):
    """Seconds and GiB as the engine's log has them, None for what it does not say.

    weights_s: reading the weights. compile_s: torch.compile. graphs_s: capturing graphs. warm_up_s: profiling, making
    the KV cache and warming up, compilation and capture included. weights_gib: on each device. kv_gib: free for the
    KV cache of each device. kv_tokens: that it has room for.
    """

    weights_s: float | None = None
    compile_s: float | None = None
    graphs_s: float | None = None
    warm_up_s: float | None = None
    weights_gib: float | None = None
    kv_gib: float | None = None
    kv_tokens: float | None = None


# As vLLM 0.18 to 0.32 write them, and vllm-ascend 0.18; a field has the first pattern that is found.
_LINES = {
    "weights_s": (r"Loading weights took ([\d.]+) seconds",),
    "compile_s": (r"torch\.compile took ([\d.]+) s in total", r"\(compilation: ([\d.]+) s"),
    "graphs_s": (r"Graph capturing finished in ([\d.]+) secs",),
    "warm_up_s": (r"init engine \(profile, create kv cache, warmup model\) took ([\d.]+) s",),
    "weights_gib": (r"Model loading took ([\d.]+) GiB", r"Loading model weights took ([\d.]+) GB"),
    "kv_gib": (r"Available KV cache memory: ([\d.]+) GiB", r"[sS]et \(([\d.]+)/[\d.]+\) GiB for KV cache"),
    "kv_tokens": (r"KV cache size: ([\d,]+) tokens",),
}


def read(log: str) -> Startup:
    """From the whole log of an engine. Where several ranks say the same thing, the largest number counts."""
    return Startup(**{name: _largest(patterns, log) for name, patterns in _LINES.items()})


def _largest(patterns: tuple[str, ...], log: str) -> float | None:
    for pattern in patterns:
        found = [float(one.replace(",", "")) for one in re.findall(pattern, log)]
        if found:
            return max(found)
    return None
