"""Where each tensor on disk goes in the running model, for both layouts of HRM-Text: names in, places out.

fused (the publisher's): attn.gqkv_proj, rows gate|q|k|v; mlp.gate_up_proj, rows gate|up; attn.o_proj.
split: self_attn.{gate,q,k,v}_proj; mlp.{gate,up}_proj; self_attn.o_proj.
The running model has the fused projections under self_attn, so that one matrix product serves all parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - `parts_missing` is called with plain dicts
from dataclasses import dataclass

# Module of the running model → the split modules that are its row blocks, in order.
PACKED = {
    "gqkv_proj": ("gate_proj", "q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
_LAYER = re.compile(
    r"^(?P<layer>(?:.*\.)?[HL]_module\.layers\.\d+)\."
    r"(?P<block>attn|self_attn|mlp)\.(?P<module>\w+)\.(?P<kind>\w+)$"
)
_FUSED_OF_BLOCK = {"self_attn": "gqkv_proj", "mlp": "gate_up_proj"}


@dataclass(frozen=True, slots=True)
class Place:
    """`parameter` of the running model; `part`: number of its row block, None for the whole of it."""

    parameter: str
    part: int | None


def place(name: str) -> Place:
    """Place of the tensor `name`; a name outside the layers keeps its own."""
    match = _LAYER.match(name)
    if match is None:
        return Place(name, None)
    block = "mlp" if match["block"] == "mlp" else "self_attn"
    fused = _FUSED_OF_BLOCK[block]
    home = f"{match['layer']}.{block}"
    if match["module"] in PACKED[fused]:
        return Place(f"{home}.{fused}.{match['kind']}", PACKED[fused].index(match["module"]))
    return Place(f"{home}.{match['module']}.{match['kind']}", None)


def parts_missing(loaded: Mapping[str, set[int | None]]) -> list[str]:
    """Sentences about parameters of which only some parts came, or parts beside the whole."""
    problems = []
    for parameter, parts in sorted(loaded.items()):
        module = parameter.split(".")[-2] if "." in parameter else parameter
        names = PACKED.get(module)
        if names is None or parts == {None}:
            continue
        if None in parts:
            problems.append(f"{parameter} came fused and in parts")
        elif len(parts) < len(names):
            absent = [name for number, name in enumerate(names) if number not in parts]
            problems.append(f"{parameter} lacks {', '.join(absent)}")
    return problems
