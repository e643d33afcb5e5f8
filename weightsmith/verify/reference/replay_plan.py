"""Which references are run, and how: whole, layer by layer, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.formats import gigabytes

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from weightsmith.verify.inputs.files import Size
    from weightsmith.verify.inputs.kinds import Dtype, Kind, Variation

# Bytes of a parameter, by dtype.
WIDTHS: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "float16": 2}

# Beside the weights: torch and transformers themselves 0.6 GB, and room for the activations (measured
# on a 0.4 M-parameter model: 0.55 GB resident).
_OVERHEAD_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """variations: in the order to run them. layer_by_layer, refused: dtype → why it is not run whole, or not at all.

    no_second_opinion: why transformers is not to unpack packed weights by itself; empty where it may.
    """

    variations: tuple[Variation, ...]
    layer_by_layer: Mapping[str, str]
    refused: Mapping[str, str]
    no_second_opinion: str = ""


def plan(
    kind: Kind,
    controls: Sequence[Variation],
    size: Size | None = None,
    free_bytes: int | None = None,
    at_hand: Container[Dtype] = (),
    lacking: str = "",
    half: Dtype = "bfloat16",
) -> ReplayPlan:
    """What fits the free memory: whole where that is possible, else layer by layer, else not at all.

    Controls take the dtype that the gates trust most: fp32, or `half` where fp32 does not fit. Not knowing the size
    or the free memory refuses nothing.
    at_hand: dtypes whose results exist already and need not fit.
    lacking: what a run layer by layer lacks here, in words; empty for nothing.
    half: what the engine rounds to, and so the reference that is the measure of its noise.
    """
    dtypes: tuple[Dtype, ...] = ("float32", half)
    layered: dict[str, str] = {}
    refused: dict[str, str] = {}
    no_opinion = None
    if size is not None and free_bytes is not None:
        no_opinion, _ = _obstacles(size, "bfloat16", free_bytes, lacking)
        for dtype in dtypes:
            if dtype not in at_hand:
                whole_not, layered_not = _obstacles(size, dtype, free_bytes, lacking)
                if layered_not is not None:
                    refused[dtype] = layered_not
                elif whole_not is not None:
                    layered[dtype] = whole_not
    fitting = [dtype for dtype in dtypes if dtype not in refused]
    variations: list[Variation] = []
    for dtype in fitting:
        wrong = controls if dtype == fitting[0] else ()
        # Those with weights of their own come last: they load anew.
        ordered = sorted(wrong, key=lambda control: control.weights is not None)
        variations += [kind.reference(dtype), *(replace(control, dtype=dtype) for control in ordered)]
    return ReplayPlan(tuple(variations), layered, refused, no_opinion or "")


def bytes_needed(size: Size, dtype: Dtype) -> int:
    """Memory that a reference takes with all weights in it."""
    return size.parameters * WIDTHS[dtype] + _OVERHEAD_BYTES


def _obstacles(size: Size, dtype: Dtype, free_bytes: int, lacking: str) -> tuple[str | None, str | None]:
    """Why a dtype cannot run whole, and why not layer by layer either; None where it can."""
    whole = bytes_needed(size, dtype)
    if whole <= free_bytes:
        return None, None
    # The layer itself, and once more what the loader holds of it.
    one_layer = 2 * size.largest_layer * WIDTHS[dtype] + _OVERHEAD_BYTES
    needs, free = f"needs {gigabytes(whole)} of memory", f"{gigabytes(free_bytes)} are free"
    why = f"whole it {needs} and {free}"
    if one_layer > free_bytes:
        return why, f"{needs}, layer by layer still {gigabytes(one_layer)}, and {free}"
    if lacking:
        return why, f"{needs} and {free} (layer by layer it needs {gigabytes(one_layer)}: {lacking})"
    return why, None
