"""Which tensors are the projections of attention, by the names that the families give them, stack by stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import without_indices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint import Tensor

# A module of attention has one of these in its name. Linear attention and state spaces have heads of another kind.
_ATTENTION = ("attn", "attention", "Attention")
_NOT_ATTENTION = ("linear_attn", "lightning", "mamba", "ssm", "conv", "indexer")
_OUTPUT = frozenset({"o_proj", "out_proj", "out_lin", "dense", "c_proj", "proj", "Wo", "o"})
_VALUE = frozenset({"v_proj", "value", "v_lin", "v"})
# Queries, keys and values in one matrix, one after the other; not where they alternate from head to head.
_JOINED = frozenset({"qkv_proj", "c_attn", "Wqkv"})
_KEY, _QUERY = frozenset({"k_proj"}), frozenset({"q_proj"})
_KINDS = (_OUTPUT, _VALUE, _KEY, _QUERY, _JOINED)
# No family has longer names; what somebody else has written there is not looked at.
_LONGEST_NAME = 300


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
    stacks: dict[str, dict[frozenset[str], list[str]]] = {}
    for name, tensor in tensors.items():
        if len(tensor.shape) != 2 or not name.endswith(".weight") or len(name) > _LONGEST_NAME:
            continue
        *modules, projection, _ = name.split(".")
        kind = next((kind for kind in _KINDS if projection in kind), None)
        index = next((at for at, module in enumerate(modules) if module.isdecimal()), None)
        if kind is not None and index and _is_attention(modules[index:]):
            stem = ".".join(modules[:index])
            stacks.setdefault(stem, {}).setdefault(kind, []).append(name)
    found = (_stack(stem, names, tensors) for stem, names in stacks.items())
    return [stack for stack in found if stack is not None]


def _is_attention(modules: Sequence[str]) -> bool:
    """Whether one of the modules around a projection is attention, and none is what only sounds so."""
    inside = any(module.endswith(_ATTENTION) for module in modules)
    return inside and not any(other in module for module in modules for other in _NOT_ATTENTION)


def _stack(
    stem: str, names: Mapping[frozenset[str], list[str]], tensors: Mapping[str, Tensor]
) -> AttentionStack | None:
    outputs, values, keys, queries, joined = (tuple(names.get(kind, ())) for kind in _KINDS)
    turned = bool(outputs) and _is_turned(outputs[0], tensors)
    widths = {tensors[name].shape[0 if turned else 1] for name in outputs}
    if len(widths) != 1:
        return None
    return AttentionStack(stem, outputs, values, keys, queries, joined, widths.pop(), turned)


def _is_turned(output: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the projection is a Conv1D of GPT-2, [in, out]: the joined projection beside it, [in, 3 * in], is one."""
    if not output.endswith("c_proj.weight"):
        return False
    beside = tensors.get(output.removesuffix("c_proj.weight") + "c_attn.weight")
    return beside is not None and len(beside.shape) == 2 and beside.shape[1] > beside.shape[0]
