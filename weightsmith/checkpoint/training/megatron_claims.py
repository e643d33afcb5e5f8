"""What a Megatron run says of its model, in its args, held against the tensors; and what of it a config takes over."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.training.megatron_names import EMBEDDING, HEAD, LAYER, NORM, PROJECTION, QKV
from weightsmith.checkpoint.training.ways_out import DAMAGED, TOOLS
from weightsmith.errors import CorruptCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.training.megatron_join import Joined
    from weightsmith.json_value import Json

# Settings under which the same weights are another model than transformers' families of these names.
_OTHER_MODEL: tuple[tuple[str, object, str], ...] = (
    ("rotary_interleaved", True, "turns neighbours as pairs"),
    ("apply_layernorm_1p", True, "adds one to the weights of norms"),
    ("position_embedding_type", "learned_absolute", "has learned positions"),
    ("position_embedding_type", "none", "has no positions"),
    ("normalization", "LayerNorm", "has other norms than RMSNorm"),
)


def refuse_claims(subject: object, table: Joined, claims: Mapping[str, object]) -> None:
    """Raises UnknownFormat where a run says that its model is another than the names tell, CorruptCheckpoint where some
    of the model is missing, or it states other sizes than the tensors have.
    """
    for name, value, what in _OTHER_MODEL:
        if claims.get(name) == value and type(claims.get(name)) is type(value):
            raise UnknownFormat(subject, f"is of a model that {what} ({name}: {value})", TOOLS)
    layers = {match[1] for name in table if (match := LAYER.fullmatch(name))}
    if NORM not in table or EMBEDDING not in table or not layers:
        absent = next((name for name in (EMBEDDING, NORM) if name not in table), "decoder.layers")
        refuse(subject, f"is no whole model: {quoted(absent)} is in none of its ranks")
    hidden = table[NORM][0].shape[-1]
    need_claim(subject, claims, "hidden_size", hidden)
    if "noop_layers" not in claims:
        need_claim(subject, claims, "num_layers", len(layers))
    for name, tensors in table.items():
        reads = name in (EMBEDDING, HEAD) or name.endswith(QKV)
        writes = name.endswith((PROJECTION, "linear_fc2.weight"))
        width = tensors[0].shape[-1 if reads else 0]
        if (reads or writes) and width != hidden:
            refuse(subject, f"has {quoted(name)} of width {width:,} in a model of width {hidden:,}")


def refuse_other_mlp(subject: object, table: Joined) -> None:
    """Raises UnknownFormat for an MLP without a gate, CorruptCheckpoint where its projections do not fit each other.

    The first projection has the rows of gate and up, as many as the second has columns each.
    """
    for name, tensors in table.items():
        if len(tensors) != 2 or not name.endswith("linear_fc1.weight"):
            continue
        second = table.get(name.replace("linear_fc1", "linear_fc2"))
        inner, columns = tensors[0].shape[0], second[0].shape[1] if second else 0
        if columns == 2 * inner:
            raise UnknownFormat(
                subject, f"has {quoted(name)} without a gate, which no family of these names has", TOOLS
            )
        if columns != inner:
            refuse(
                subject,
                f"has {quoted(name)} of twice {inner:,} rows for {columns:,} columns of the next projection",
            )


def need_claim(subject: object, claims: Mapping[str, object], name: str, found: int) -> None:
    """Raises CorruptCheckpoint where the run states another number than is found; nothing where it states none."""
    claimed = claims.get(name)
    if type(claimed) is int and claimed != found:
        refuse(subject, f"states {name} {claimed:,} in its args, and its tensors have {found:,}")


def claimed_config(claims: Mapping[str, object]) -> dict[str, Json]:
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
    return found


def refuse(subject: object, fact: str) -> NoReturn:
    """Raises CorruptCheckpoint: shapes or claims do not fit each other."""
    raise CorruptCheckpoint(subject, fact, DAMAGED)
