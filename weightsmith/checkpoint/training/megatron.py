"""Megatron-core and MindSpeed checkpoints as one model: ranks read, parts joined, names and claims brought together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.config_file import readable_config
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.table import Checkpoint
from weightsmith.checkpoint.tiling import rows_of
from weightsmith.checkpoint.training.beside import folder_beside, head_width
from weightsmith.checkpoint.training.facts import TrainingRun
from weightsmith.checkpoint.training.megatron_join import join
from weightsmith.checkpoint.training.megatron_names import EMBEDDING, HEAD
from weightsmith.checkpoint.training.megatron_ranks import read_ranks
from weightsmith.checkpoint.training.megatron_release import claimed_config, heads_of, refuse_claims, released

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.megatron_join import Joined, Whole
    from weightsmith.checkpoint.training.megatron_ranks import Ranks

_KINDS = ("tensor", "pipeline", "expert", "chunk")
_BLOCK_BYTES = 1 << 20


def read_megatron(
    path: Place, root: Place, files: Mapping[tuple[int, ...], str], answers: Mapping[str, int]
) -> Checkpoint:
    """The table of a step's folder, under released names; under Megatron's where a question is open.

    files: see `rank_folders`. Raises MissingInput (ranks are absent), CorruptCheckpoint (parts, shapes or claims that
    do not fit), UnknownFormat (a model or parameters that are not known), and what `read_rank_file` raises.
    """
    ranks = read_ranks(root, files)
    whole = join(root, ranks, _Same(root, ranks.sizes))
    degrees = {kind: ranks.degree(kind) for kind in _KINDS}
    model, *others = whole.tables
    refuse_claims(root, model, ranks.claims, degrees)
    beside = folder_beside(root)
    bare = Checkpoint(path, root, "torch-shards", ranks.sizes, {}, None, {}, ())
    run = _run(ranks, whole, degrees, beside)
    config = readable_config(replace(bare, run=run)) or {}
    words = answers.get("vocab_size") or config.get("vocab_size") or ranks.claims.get("vocab_size")
    filled = _filled(model, words)
    if filled:
        model, *others = [_without_filling(table, filled) for table in whole.tables]
        note = f"rows {filled} and on, up to which Megatron fills the vocabulary, are left out"
        run = replace(run, notes=(*run.notes, note))
    heads = heads_of(root, model, ranks.claims, answers.get("head_dim") or head_width(config))
    if heads is not None and heads.questions:
        return replace(bare, tensors=_as_joined(model), run=replace(run, questions=heads.questions))
    tensors = released(root, model, heads)
    copies: dict[str, tuple[Tensor, ...]] = {}
    for table in others:
        for name, tensor in released(root, table, heads).items():
            copies[name] = (*copies.get(name, ()), tensor)
    claims = claimed_config(ranks.claims, heads)
    return replace(bare, tensors=_in_order(tensors), run=replace(run, copies=copies, config=claims))


def _run(ranks: Ranks, whole: Whole, degrees: Mapping[str, int], beside: Place | None) -> TrainingRun:
    layout = {"tensor": degrees["tensor"], "pipeline": degrees["pipeline"], "expert": degrees["expert"]}
    layout["virtual stages"] = degrees["chunk"]
    left = ["the optimizer and other state of the run"]
    if whole.ahead:
        left.append(f"{whole.ahead} tensors of heads that predict tokens further ahead (mtp)")
    notes = []
    if ranks.claims.get("use_rope_scaling") is True:
        notes.append("the run scaled its positions (use_rope_scaling): state rope_scaling in config.json")
    if whole.experts and degrees["tensor"] > 1 and not whole.experts_cut:
        notes.append(
            "experts are the same on all tensor-parallel ranks: they are not cut by tensor parallelism"
        )
    return TrainingRun(
        library="Megatron",
        processes=len({(p.tensor, p.pipeline, p.expert) for p in ranks.parts}),
        layout=layout,
        left_out=tuple(left),
        beside=beside,
        notes=tuple(notes),
    )


def _filled(model: Joined, words: object) -> int:
    """How many rows the vocabulary has, where it was filled up to more; 0 where it was not, or nobody states it.

    Megatron makes the number of rows a multiple of 128 (make_vocab_size_divisible_by) for each tensor-parallel rank.
    """
    rows = model[EMBEDDING][0].shape[0]
    return words if type(words) is int and 0 < words < rows else 0


def _without_filling(table: Joined, words: int) -> Joined:
    cut = {n: tuple(rows_of(t, 0, words) for t in table[n]) for n in (EMBEDDING, HEAD) if n in table}
    return {**table, **cut}


def _as_joined(model: Joined) -> dict[str, Tensor]:
    """The parameters under Megatron's names; of a gated one both projections, numbered."""
    found: dict[str, Tensor] = {}
    for name, tensors in model.items():
        for number, tensor in enumerate(tensors):
            new = name if len(tensors) == 1 else f"{name}.{number}"
            found[new] = replace(tensor, name=new)
    return found


def _in_order(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Embedding, layers by number, the rest: stages and chunks come in the order of their folders."""

    def place(item: tuple[str, Tensor]) -> tuple[int, int]:
        words = item[0].split(".")
        if "layers" in words:
            return 1, int(words[words.index("layers") + 1])
        return (0, 0) if "embed" in item[0] else (2, 0)

    return dict(sorted(tensors.items(), key=place))


class _Same:
    """Whether two tensors of the folder hold the same numbers. Reads them, a few rows at a time."""

    def __init__(self, root: Place, sizes: Mapping[str, int]) -> None:
        self._table = Checkpoint(root, root, "torch-shards", sizes, {}, None, {}, ())

    def __call__(self, one: Tensor, other: Tensor) -> bool:
        from weightsmith.checkpoint.data import TensorReader  # takes numpy, which nothing else here needs

        if (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        each = max(1, one.elements // one.shape[0] * BITS[one.dtype] // 8)
        step = max(1, _BLOCK_BYTES // each)
        with TensorReader(self._table) as reader:
            for start in range(0, one.shape[0], step):
                stop = min(start + step, one.shape[0])
                pair = (reader.read(rows_of(tensor, start, stop)).tobytes() for tensor in (one, other))
                if next(pair) != next(pair):
                    return False
        return True
