"""A joined Megatron model under the names that transformers knows, and what its run claims, held against the shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.tiling import rows_of, stacked
from weightsmith.checkpoint.training.facts import asked_width
from weightsmith.checkpoint.training.limits import MOST_HEADS, need_few
from weightsmith.checkpoint.training.megatron_join import parameter_of
from weightsmith.checkpoint.training.megatron_names import (
    EMBEDDING,
    EXPERT,
    HEAD,
    LATENT,
    LAYER,
    NORM,
    PROJECTION,
    QKV,
    QUERY_NORM,
)
from weightsmith.errors import CorruptCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.facts import Question
    from weightsmith.checkpoint.training.megatron_join import Joined
    from weightsmith.json_value import Json

_DAMAGED = "the checkpoint is damaged, or of several runs; copy it again from the training run"
_TOOLS = "convert it with the run's own code (Megatron-LM's tools/checkpoint/convert.py, or Megatron Bridge)"
# Settings under which the same weights are another model than transformers' families of these names.
_OTHER_MODEL: tuple[tuple[str, object, str], ...] = (
    ("rotary_interleaved", True, "turns neighbours as pairs"),
    ("apply_layernorm_1p", True, "adds one to the weights of norms"),
    ("position_embedding_type", "learned_absolute", "has learned positions"),
    ("position_embedding_type", "none", "has no positions"),
    ("normalization", "LayerNorm", "has other norms than RMSNorm"),
)


@dataclass(frozen=True, slots=True)
class Heads:
    """queries: rows of all query heads. keys: rows of all key heads. width: of a head; None where nothing tells it."""

    queries: int
    keys: int
    width: int | None

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
        _refuse(subject, f"has {quoted(layer + QKV)} and no {quoted(layer + PROJECTION)}")
    queries = table[layer + PROJECTION][0].shape[1]
    keys, rest = divmod(rows - queries, 2)
    if rest or keys <= 0 or queries % keys:
        _refuse(
            subject,
            f"has {rows:,} rows of attention for {queries:,} columns of its output, which fit no heads",
        )
    norm = table.get(layer + QUERY_NORM)
    claimed = _claimed_width(claims)
    width = (norm[0].shape[0] if norm and norm[0].shape[0] < queries else None) or stated or claimed
    if width is not None and (keys % width or queries % width):
        _refuse(
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


def refuse_claims(subject: object, table: Joined, claims: Mapping[str, object]) -> None:
    """Raises UnknownFormat where a run says that its model is another than the names tell, CorruptCheckpoint where some
    of the model is missing, or it states other sizes than the tensors have.
    """
    for name, value, what in _OTHER_MODEL:
        if claims.get(name) == value and type(claims.get(name)) is type(value):
            raise UnknownFormat(subject, f"is of a model that {what} ({name}: {value})", _TOOLS)
    layers = {match[1] for name in table if (match := LAYER.fullmatch(name))}
    if NORM not in table or EMBEDDING not in table or not layers:
        absent = next((name for name in (EMBEDDING, NORM) if name not in table), "decoder.layers")
        _refuse(subject, f"is no whole model: {quoted(absent)} is in none of its ranks")
    hidden = table[NORM][0].shape[-1]
    need_claim(subject, claims, "hidden_size", hidden)
    if "noop_layers" not in claims:
        need_claim(subject, claims, "num_layers", len(layers))
    for name, tensors in table.items():
        if name in (EMBEDDING, HEAD) or name.endswith(QKV):
            width = tensors[0].shape[-1]
            if width != hidden:
                _refuse(subject, f"has {quoted(name)} of {width:,} columns in a model of width {hidden:,}")


def need_claim(subject: object, claims: Mapping[str, object], name: str, found: int) -> None:
    """Raises CorruptCheckpoint where the run states another number than is found; nothing where it states none."""
    claimed = claims.get(name)
    if type(claimed) is int and claimed != found:
        _refuse(subject, f"states {name} {claimed:,} in its args, and its tensors have {found:,}")


def released(subject: object, table: Joined, heads: Heads | None, spelling: Spelling) -> dict[str, Tensor]:
    """The parameters under released names; q, k and v, gate and up as tensors of their own.

    spelling: of the whole model; the table may be of copies of a part of it.
    Raises UnknownFormat for a parameter that is not known, CorruptCheckpoint for shapes that do not fit.
    """
    found: dict[str, Tensor] = {}
    for name, tensors in table.items():
        parameter = parameter_of(name, spelling.latent)
        if parameter is None:
            raise UnknownFormat(
                subject, f"holds {quoted(name)}, a parameter of no kind that is known", _TOOLS
            )
        if parameter.cut == "qkv":
            if heads is None or heads.width is None:
                raise UnknownFormat(subject, "has heads of a width that nothing tells", _TOOLS)
            tensors = _unfused(subject, tensors[0], heads, heads.width)
        for new, tensor in zip(spelling.names(name, parameter.released), tensors, strict=True):
            if new in found:
                _refuse(subject, f"has two parameters for {quoted(new)}")
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
        _refuse(subject, f"has {quoted(tensor.name)} of {tensor.shape[0]:,} rows, not {groups * step:,}")
    cuts = ((0, each), (each, each + width), (each + width, step))
    return tuple(
        stacked(tensor.name, [rows_of(tensor, group * step + a, group * step + b) for group in range(groups)])
        for a, b in cuts
    )


def claimed_config(claims: Mapping[str, object], heads: Heads | None) -> dict[str, Json]:
    """What the run states of its model that no shape shows, by transformers' names."""
    wanted = {
        "rotary_base": "rope_theta",
        "norm_epsilon": "rms_norm_eps",
        "layernorm_epsilon": "rms_norm_eps",
        "max_position_embeddings": "max_position_embeddings",
        "moe_router_topk": "num_experts_per_tok",
        "init_method_std": "initializer_range",
    }
    found: dict[str, Json] = {}
    for old, new in wanted.items():
        value = claims.get(old)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[new] = value
    if "num_experts_per_tok" in found and not claims.get("num_experts", claims.get("num_moe_experts")):
        del found["num_experts_per_tok"]
    untied = claims.get("untie_embeddings_and_output_weights")
    if type(untied) is bool:
        found["tie_word_embeddings"] = not untied
    if heads is not None and heads.width is not None:
        found["num_attention_heads"] = heads.queries // heads.width
        found["num_key_value_heads"] = heads.keys // heads.width
        found["head_dim"] = heads.width
    return found


def _refuse(subject: object, fact: str) -> NoReturn:
    raise CorruptCheckpoint(subject, fact, _DAMAGED)
