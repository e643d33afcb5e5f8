"""Which tensors are the projections of attention, by the names that the families give them, stack by stack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import without_indices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint import Tensor

# A module of attention, then the projection. Not linear attention and state spaces, whose heads are others.
_IN_ATTENTION = re.compile(r"(?:^|\.)[a-zA-Z_]*?(?:attn|attention|Attention)\.(?:\w+\.)*?")
_NOT_ATTENTION = re.compile(r"(linear_attn|lightning|mamba|ssm|conv|indexer)")
_OUTPUT = re.compile(
    _IN_ATTENTION.pattern + r"(o_proj|out_proj|out_lin|output\.dense|dense|c_proj|proj|Wo|o)\.weight$"
)
_VALUE = re.compile(_IN_ATTENTION.pattern + r"(v_proj|value|v_lin|v)\.weight$")
# Queries, keys and values in one matrix, one after the other; not where they alternate from head to head.
_JOINED = re.compile(_IN_ATTENTION.pattern + r"(qkv_proj|c_attn|Wqkv)\.weight$")
_KEY = re.compile(_IN_ATTENTION.pattern + r"k_proj\.weight$")
_QUERY = re.compile(_IN_ATTENTION.pattern + r"q_proj\.weight$")
_INDEX = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class AttentionStack:
    """The attention of one stack of layers.

    stem: what stands before the first index of a layer, such as `model.layers`. outputs, values, keys, queries, joined:
    names, in file order; joined: queries, keys and values in one. width: columns that each output projection takes:
    heads times the width of one. turned: outputs and joined are stored [in, out] (GPT-2).
    """

    stem: str
    outputs: tuple[str, ...]
    values: tuple[str, ...]
    keys: tuple[str, ...]
    queries: tuple[str, ...]
    joined: tuple[str, ...]
    width: int
    turned: bool

    @property
    def pattern(self) -> str:
        """The output projections with * for indices."""
        return without_indices(self.outputs[0])


def attention_stacks(tensors: Mapping[str, Tensor]) -> list[AttentionStack]:
    """Every stack whose output projections all take the same number of columns. tensors: a plain view, by name."""
    names: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        index = _INDEX.search(name)
        if index is not None and len(tensor.shape) == 2 and not _NOT_ATTENTION.search(name):
            names.setdefault(name[: index.start()], []).append(name)
    found = (_stack(stem, inside, tensors) for stem, inside in names.items())
    return [stack for stack in found if stack is not None]


def _stack(stem: str, names: Iterable[str], tensors: Mapping[str, Tensor]) -> AttentionStack | None:
    inside = list(names)
    outputs = [name for name in inside if _OUTPUT.search(name)]
    turned = bool(outputs) and _is_turned(outputs[0], tensors)
    widths = {tensors[name].shape[0 if turned else 1] for name in outputs}
    if len(widths) != 1:
        return None
    values, keys, queries, joined = (
        tuple(name for name in inside if part.search(name)) for part in (_VALUE, _KEY, _QUERY, _JOINED)
    )
    return AttentionStack(stem, tuple(outputs), values, keys, queries, joined, widths.pop(), turned)


def _is_turned(output: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the projection is a Conv1D of GPT-2, [in, out]: the joined projection beside it, [in, 3 * in], is one."""
    if not output.endswith("c_proj.weight"):
        return False
    beside = tensors.get(output.removesuffix("c_proj.weight") + "c_attn.weight")
    return beside is not None and len(beside.shape) == 2 and beside.shape[1] > beside.shape[0]
