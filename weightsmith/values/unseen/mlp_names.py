"""Which tensors are the matrices of feed-forward blocks and of experts, by the names that the families give them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Tensor

_LAYER = re.compile(r"^(?P<stem>.*?)\.(?P<layer>\d+)\.(?P<rest>.+)\.weight$")
# No family has longer names; what somebody else has written there is not looked at.
_LONGEST_NAME = 300
_EXPERT = re.compile(r"experts\.(\d+)\.")
# What goes up, what gates it where something does, and what goes down again; [out, in] each.
_KINDS = (
    ("up_proj", "gate_proj", "down_proj"),
    ("w3", "w1", "w2"),
    ("wi_1", "wi_0", "wo"),
    ("fc1", None, "fc2"),
    ("intermediate.dense", None, "output.dense"),
    ("dense_h_to_4h", None, "dense_4h_to_h"),
)


@dataclass(frozen=True, slots=True)
class FeedForward:
    """The matrices of one block: `up` [inner, hidden], `down` [hidden, inner], `gate` as `up` or None.

    stem: the stack. layer: of the stack. expert: its number, None in a dense layer. joined: gate and up in one matrix,
    `up` and `gate` are then that one, the gate's rows first.
    """

    stem: str
    layer: int
    expert: int | None
    up: str
    gate: str | None
    down: str
    joined: bool


def feed_forwards(tensors: Mapping[str, Tensor]) -> list[FeedForward]:
    """All blocks, in the order of their layers and experts. tensors: a plain view, by name."""
    found = []
    for name in tensors:
        short = name.endswith(".weight") and len(name) <= _LONGEST_NAME
        place = _LAYER.match(name) if short else None
        block = _block(name, place["rest"], tensors) if place else None
        if place is None or block is None:
            continue
        expert = _EXPERT.search(place["rest"])
        number = int(expert[1]) if expert else None
        found.append(FeedForward(place["stem"], int(place["layer"]), number, *block))
    return sorted(found, key=lambda one: (one.stem, one.layer, one.expert or 0))


def _block(name: str, rest: str, tensors: Mapping[str, Tensor]) -> tuple[str, str | None, str, bool] | None:
    """(up, gate, down, joined) where `name` is what goes up in a block that is all there."""
    if rest.endswith("gate_up_proj"):
        down = name.replace("gate_up_proj", "down_proj")
        return (name, name, down, True) if _fit(name, down, tensors, joined=True) else None
    for up, gate, down in _KINDS:
        if rest == up or rest.endswith(f".{up}"):
            start = name.removesuffix(f"{up}.weight")
            partner = f"{start}{gate}.weight" if gate else None
            lower = f"{start}{down}.weight"
            if _fit(name, lower, tensors) and (partner is None or _same(name, partner, tensors)):
                return name, partner, lower, False
    return None


def _fit(up: str, down: str, tensors: Mapping[str, Tensor], *, joined: bool = False) -> bool:
    """Whether both are matrices, and one takes what the other gives."""
    if down not in tensors or len(tensors[up].shape) != 2 or len(tensors[down].shape) != 2:
        return False
    rows, columns = tensors[up].shape
    return tensors[down].shape == (columns, rows // 2 if joined else rows)


def _same(one: str, other: str, tensors: Mapping[str, Tensor]) -> bool:
    return other in tensors and tensors[one].shape == tensors[other].shape
