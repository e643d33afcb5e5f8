"""A joined Megatron model under the names that transformers knows; its heads, as the shapes and the run tell them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.tiling import rows_of, stacked
from weightsmith.checkpoint.training.facts import asked_width
from weightsmith.checkpoint.training.limits import MOST_HEADS, need_few
from weightsmith.checkpoint.training.megatron_claims import need_claim, refuse
from weightsmith.checkpoint.training.megatron_join import parameter_of
from weightsmith.checkpoint.training.megatron_names import (
    EXPERT,
    LATENT,
    LAYER,
    PROJECTION,
    QKV,
    QUERY_NORM,
)
from weightsmith.checkpoint.training.ways_out import TOOLS
from weightsmith.errors import UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.facts import Question
    from weightsmith.checkpoint.training.megatron_join import Joined
    from weightsmith.json_value import Json


@dataclass(frozen=True, slots=True)
class Heads:
    """queries: rows of all query heads. keys: rows of all key heads. width: of a head; None where nothing tells it."""

    queries: int
    keys: int
    width: int | None

    def config(self) -> dict[str, Json]:
        """The heads by transformers' names; nothing where their width is not known."""
        if self.width is None:
            return {}
        counts = {"num_attention_heads": self.queries, "num_key_value_heads": self.keys}
        return {**{name: rows // self.width for name, rows in counts.items()}, "head_dim": self.width}

    @property
    def questions(self) -> tuple[Question, ...]:
        if self.width is not None:
            return ()
        why = "Megatron keeps q, k and v of a group of heads side by side"
        return (asked_width(gcd(self.queries, self.keys), why),)


def heads_of(
    subject: object, table: Joined, claims: Mapping[str, object], stated: int | None
) -> Heads | None:
    """Of the attention of a joined model; None where it has none with joined projections (MLA).

    stated: width of a head as the user or a config beside says. The shapes give the rows of queries (as many as the
    output projection has columns) and keys; the width is that of the query norm, or a claim that must fit.
    Raises CorruptCheckpoint for shapes or claims that do not fit each other.
    """
    layer = next((name.removesuffix(QKV) for name in table if name.endswith(QKV)), None)
    if layer is None:
        return None
    rows = table[layer + QKV][0].shape[0]
    if layer + PROJECTION not in table:
        refuse(subject, f"has {quoted(layer + QKV)} and no {quoted(layer + PROJECTION)}")
    queries = table[layer + PROJECTION][0].shape[1]
    keys, rest = divmod(rows - queries, 2)
    if rest or keys <= 0 or queries % keys:
        refuse(
            subject,
            f"has {rows:,} rows of attention for {queries:,} columns of its output, which fit no heads",
        )
    norm = table.get(layer + QUERY_NORM)
    claimed = _claimed_width(claims)
    width = (norm[0].shape[0] if norm and norm[0].shape[0] < queries else None) or stated or claimed
    if width is not None and (keys % width or queries % width):
        refuse(
            subject, f"has {queries:,} rows of queries and {keys:,} of keys, which are no heads of {width}"
        )
    if width is not None:
        need_claim(subject, claims, "num_attention_heads", queries // width)
        groups = "num_query_groups" if claims.get("group_query_attention", True) else "num_attention_heads"
        need_claim(subject, claims, groups, keys // width)
        need_claim(subject, claims, "kv_channels", width)
    return Heads(queries, keys, width)


def _claimed_width(claims: Mapping[str, object]) -> int | None:
    width, hidden, heads = (claims.get(n) for n in ("kv_channels", "hidden_size", "num_attention_heads"))
    if type(width) is int and width > 0:
        return width
    return hidden // heads if type(hidden) is int and type(heads) is int and heads > 0 else None


def released(subject: object, table: Joined, heads: Heads | None, spelling: Spelling) -> dict[str, Tensor]:
    """The parameters under released names; q, k and v, gate and up as tensors of their own.

    spelling: of the whole model; the table may be of copies of a part of it.
    Raises UnknownFormat for a parameter that is not known, CorruptCheckpoint for shapes that do not fit.
    """
    found: dict[str, Tensor] = {}
    for name, tensors in table.items():
        parameter = parameter_of(name, spelling.latent)
        if parameter is None:
            raise UnknownFormat(subject, f"holds {quoted(name)}, a parameter of no kind that is known", TOOLS)
        if parameter.cut == "qkv":
            if heads is None or heads.width is None:
                raise UnknownFormat(subject, "has heads of a width that nothing tells", TOOLS)
            tensors = _unfused(subject, tensors[0], heads, heads.width)
        for new, tensor in zip(spelling.names(name, parameter.released), tensors, strict=True):
            if new in found:
                refuse(subject, f"has two parameters for {quoted(new)}")
            found[new] = replace(tensor, name=new)
    return found


@dataclass(frozen=True, slots=True)
class Spelling:
    """What families call the same thing otherwise.

    latent: attention goes through low ranks. mixtral: experts as Mixtral has them. gated: one shared expert that is
    switched by a gate, as in Qwen's.
    """

    latent: bool
    mixtral: bool
    gated: bool

    @staticmethod
    def of(table: Joined) -> Spelling:
        """Of a whole model: told by what other families with experts have and these have not."""
        gated = any("shared_experts.gate_weight" in name for name in table)
        experts = any((m := LAYER.fullmatch(name)) and EXPERT.fullmatch(m[2]) for name in table)
        others = ("shared_experts.", "q_layernorm.", "expert_bias", "linear_qkv.bias", "kv_down_proj.")
        mixtral = experts and not any(word in name for name in table for word in others)
        return Spelling(any(name.endswith(LATENT) for name in table), mixtral, gated)

    def names(self, name: str, released: Sequence[str]) -> list[str]:
        """The released names of a parameter."""
        layer = LAYER.fullmatch(name)
        if layer is None:
            return list(released)
        at, expert = f"model.layers.{layer[1]}.", EXPERT.fullmatch(layer[2])
        if expert:
            at += f"mlp.experts.{expert[1]}."
        names = [at + one for one in released]
        if self.gated:
            names = [one.replace(".shared_experts.", ".shared_expert.") for one in names]
        if self.mixtral:
            pairs = (
                (".mlp.", ".block_sparse_moe."),
                (".gate_proj.", ".w1."),
                (".up_proj.", ".w3."),
                (".down_proj.", ".w2."),
            )
            for old, new in pairs:
                names = [one.replace(old, new) for one in names]
        return names


def _unfused(subject: object, tensor: Tensor, heads: Heads, width: int) -> tuple[Tensor, ...]:
    """q, k and v of the rows of all groups: in each, rows of its queries, of its key, of its value."""
    groups = heads.keys // width
    need_few(subject, groups, MOST_HEADS, "heads")
    each = heads.queries // groups
    step = each + 2 * width
    if tensor.shape[0] != groups * step:
        refuse(subject, f"has {quoted(tensor.name)} of {tensor.shape[0]:,} rows, not {groups * step:,}")
    cuts = ((0, each), (each, each + width), (each + width, step))
    return tuple(
        stacked(tensor.name, [rows_of(tensor, group * step + a, group * step + b) for group in range(groups)])
        for a, b in cuts
    )
