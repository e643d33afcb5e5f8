"""What people take for a model and is none that a config could describe, told by what it has and what it lacks.

A draft head reads the hidden states of the model that it speeds up, an adapter is a difference to its base, a save of
empty tensors has no weights at all. Each is one row of a table. A row is evidence of its own: no family is asked
whether it could explain a part of the tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.shapes.given.roles import NameTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint import Tensor
    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.given.draft_layers import Extras

_ATTENTION = ("self_attn", "self_attention", "attention", "attn", "mixer")
_LORA = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
_SERVE_DRAFT = "give it to the engine beside the model that it drafts for (--speculative-config)"
# A draft reads so many hidden states at once, at most, of the model that it drafts for.
_MOST_STATES = 16


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table.

    has: groups of parts of names; of each group at least one part occurs. A part is one or more whole segments of a
    name, with `#` for an index.
    lacks: parts that do not occur.
    joins: parts of which one is the name of a matrix that reads several hidden states side by side.
    says: keys of the config of which one is enough, whatever the names are.
    what: what it is, said of the first tensor that shows it. way_out: what its owner can do.
    """

    code: str
    what: str
    way_out: str
    has: tuple[tuple[str, ...], ...] = ()
    lacks: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    says: tuple[str, ...] = ()


KINDS = (
    Kind(
        "adapter",
        "LoRA matrices stand beside the matrices of the base that they adapt",
        "merge them (merge_and_unload of PEFT) and save what comes out",
        has=(_LORA, ("base_layer", "input_layernorm", "LayerNorm", "layernorm", "ln_#", "norm", "norm#")),
    ),
    Kind(
        "adapter",
        "LoRA matrices of an adapter, no model",
        "merge them into its base first",
        has=(_LORA,),
    ),
    Kind(
        "draft-head",
        "a draft head for speculative decoding (EAGLE-3): it has tables between two vocabularies",
        _SERVE_DRAFT,
        has=(("d2t", "t2d"),),
    ),
    Kind(
        "draft-head",
        "a draft head for speculative decoding (EAGLE): it reads hidden states of another model side by side",
        _SERVE_DRAFT,
        has=(_ATTENTION,),
        joins=("fc", "fusion_fc"),
    ),
    Kind(
        "draft-head",
        "draft heads for speculative decoding (Medusa, Hydra), without the model that they draft for",
        _SERVE_DRAFT,
        has=(("medusa_head", "medusa_heads", "hydra_head", "hydra_heads", "lm_heads.#", "#.#.linear"),),
        lacks=_ATTENTION,
    ),
    Kind(
        "draft-head",
        "an MLP speculator: it drafts from one hidden state of another model",
        _SERVE_DRAFT,
        has=(("emb.#",), ("proj.#",), ("head.#",)),
        lacks=_ATTENTION,
    ),
    Kind(
        "draft-head",
        "a draft model for speculative decoding, as its config says",
        _SERVE_DRAFT,
        says=("speculators_config", "speculators_model_type"),
    ),
    Kind(
        "packed-elsewhere",
        "weights packed by quanto",
        "load it with optimum-quanto, dequantize it there and save that",
        has=(("weight._data",), ("weight._scale",)),
    ),
    Kind(
        "packed-elsewhere",
        "weights packed by HQQ",
        "load it with hqq, dequantize it there and save that",
        has=(("W_q",),),
    ),
    Kind(
        "packed-elsewhere",
        "weights packed by AQLM, VPTQ or QuIP#, as codes and the tables that they point into",
        "publish the model that it was packed from",
        has=(("codes", "indices", "Qidxs"), ("codebooks", "centroids", "SU")),
    ),
)


@dataclass(frozen=True, slots=True)
class NoModel:
    """What it is instead, as a problem, and what its owner can do."""

    problem: Problem
    way_out: str


def no_model(extras: Extras, config: JsonObject | None) -> NoModel | None:
    """What the tensors are if they are no model; None where nothing speaks against one.

    extras: those of the whole checkpoint, packed weights undone where a scheme is known, draft layers set aside.
    """
    table = NameTable.under(extras.tensors.items())
    paths = {f".{key}.": key for key in table.by_key}
    alone = _emptied(table) or _drafts_alone(extras, paths)
    if alone is not None:
        return alone
    for kind in KINDS:
        shown = next(_evidence(kind, paths, table, config), None)
        if shown is not None:
            return NoModel(Problem(kind.code, f"{kind.what} ({shown})"), kind.way_out)
    return None


def _drafts_alone(extras: Extras, paths: dict[str, str]) -> NoModel | None:
    """Layers for multi-token prediction, published without the model that they draft for."""
    if not extras.names or _first(_ATTENTION, paths):
        return None
    text = f"the layers for multi-token prediction alone, without the model that they draft for ({extras.names[0]})"
    return NoModel(Problem("draft-head", text), _SERVE_DRAFT)


def _evidence(
    kind: Kind, paths: dict[str, str], table: NameTable, config: JsonObject | None
) -> Iterator[str]:
    """What shows that it is of this kind: a key of the config, or a tensor. Nothing where it is not."""
    yield from (key for key in kind.says if key in (config or {}))
    if not (kind.has or kind.joins) or any(_first((part,), paths) for part in kind.lacks):
        return
    shown = [_first(group, paths) for group in kind.has]
    if not all(shown):
        return
    joining = [tensor.name for tensor in _joining(kind.joins, paths, table)]
    if joining or not kind.joins:
        yield joining[0] if joining else next(iter(table.by_key[shown[0] or ""].values())).name


def _first(parts: tuple[str, ...], paths: dict[str, str]) -> str | None:
    """The digit-free name of the first tensor that has one of the parts."""
    return next((key for path, key in paths.items() if any(f".{part}." in path for part in parts)), None)


def _joining(parts: tuple[str, ...], paths: dict[str, str], table: NameTable) -> Iterator[Tensor]:
    """Matrices of one of these names, outside of any layer, from several hidden states to one."""
    for path, key in paths.items():
        if "#" not in key and any(path.endswith(f".{part}.weight.") for part in parts):
            for tensor in table.by_key[key].values():
                rows, columns = tensor.shape if len(tensor.shape) == 2 else (0, 0)
                if (
                    rows
                    and columns % rows == 0
                    and 2 <= columns // rows <= _MOST_STATES
                    and _is_width(rows, table)
                ):
                    yield tensor


def _is_width(size: int, table: NameTable) -> bool:
    """Whether a norm is so wide: then it is the width of the hidden states."""
    norms = (tensors for key, tensors in table.by_key.items() if "norm" in key)
    return any(tensor.shape == (size,) for tensors in norms for tensor in tensors.values())


def _emptied(table: NameTable) -> NoModel | None:
    """A save of a model whose weights lay sharded over devices and were not gathered: its matrices have no elements."""
    tensors = [tensor for same in table.by_key.values() for tensor in same.values()]
    empty = [tensor.name for tensor in tensors if 0 in tensor.shape]
    matrices = sum(len(tensor.shape) > 1 for tensor in tensors if 0 not in tensor.shape)
    if len(empty) <= matrices:
        return None
    text = f"{len(empty)} of {len(tensors)} tensors have no elements, as ZeRO-3 leaves them ungathered ({empty[0]})"
    return NoModel(
        Problem("empty-model", text), "save it again with stage3_gather_16bit_weights_on_model_save"
    )
