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
from weightsmith.checkpoint.training.megatron_claims import (
    claimed_config,
    need_claim,
    refuse_claims,
    refuse_other_mlp,
)
from weightsmith.checkpoint.training.megatron_dist import common_claims, joined_model
from weightsmith.checkpoint.training.megatron_join import join
from weightsmith.checkpoint.training.megatron_names import EMBEDDING, HEAD, PROJECTION
from weightsmith.checkpoint.training.megatron_ranks import read_ranks
from weightsmith.checkpoint.training.megatron_release import Spelling, heads_of, released

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.megatron_join import Joined, Whole
    from weightsmith.checkpoint.training.megatron_ranks import Ranks

_KINDS = ("tensor", "pipeline", "expert", "chunk")
_DEGREES = {
    "tensor": "tensor_model_parallel_size",
    "pipeline": "pipeline_model_parallel_size",
    "expert": "expert_model_parallel_size",
}
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
    for kind, claim in _DEGREES.items():
        need_claim(root, ranks.claims, claim, degrees[kind])
    run = _run(ranks, whole, degrees, folder_beside(root))
    bare = Checkpoint(path, root, "torch-shards", ranks.sizes, {}, None, {}, (), run=run)
    return _named(bare, run, whole.tables, ranks.claims, answers)


def named_by_megatron(checkpoint: Checkpoint, run: TrainingRun, answers: Mapping[str, int]) -> Checkpoint:
    """A distributed checkpoint with Megatron's names under released names. Raises as `read_megatron`."""
    table, beside, ahead = joined_model(checkpoint.root, checkpoint.tensors)
    ranks = next(
        (len({p.corner[1] for p in t[0].pieces}) for n, t in table.items() if n.endswith(PROJECTION)), 1
    )
    run = replace(
        run,
        library="Megatron (torch_dist)",
        layout={"tensor": max(1, ranks)},
        left_out=(*run.left_out, *_left_out(ahead)),
    )
    made = _named(replace(checkpoint, run=run), run, (table,), common_claims(checkpoint.root), answers)
    return replace(made, tensors={**made.tensors, **beside})


def _named(
    bare: Checkpoint,
    run: TrainingRun,
    tables: Sequence[Joined],
    claims: Mapping[str, object],
    answers: Mapping[str, int],
) -> Checkpoint:
    """The checkpoint with the tensors of the first table, and the others as copies."""
    root = bare.root
    refuse_claims(root, tables[0], claims)
    refuse_other_mlp(root, tables[0])
    config = readable_config(bare) or {}
    words = answers.get("vocab_size") or _filled(tables[0], run, claims, config.get("vocab_size"))
    if words and words < tables[0][EMBEDDING][0].shape[0]:
        tables = [_without_filling(table, words) for table in tables]
        note = f"the rows from {words} on, with which Megatron fills up the vocabulary, are left out"
        run = replace(run, notes=(*run.notes, note))
    heads = heads_of(root, tables[0], claims, answers.get("head_dim") or head_width(config))
    if heads is not None and heads.questions:
        return replace(bare, tensors=_as_joined(tables[0]), run=replace(run, questions=heads.questions))
    spelling = Spelling.of(tables[0])
    copies: dict[str, tuple[Tensor, ...]] = {}
    for table in tables[1:]:
        for name, tensor in released(root, table, heads, spelling).items():
            copies[name] = (*copies.get(name, ()), tensor)
    told = replace(run, config={**claimed_config(claims), **(heads.config() if heads else {})})
    tensors = _in_order(released(root, tables[0], heads, spelling))
    return replace(bare, tensors=tensors, run=told, copies=copies)


def _run(ranks: Ranks, whole: Whole, degrees: Mapping[str, int], beside: Place | None) -> TrainingRun:
    layout = {"tensor": degrees["tensor"], "pipeline": degrees["pipeline"], "expert": degrees["expert"]}
    layout["virtual stages"] = degrees["chunk"]
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
        left_out=("the optimizer and other state of the run", *_left_out(whole.ahead)),
        beside=beside,
        notes=tuple(notes),
    )


def _left_out(ahead: int) -> tuple[str, ...]:
    """ahead: how many tensors of heads that look ahead there are."""
    return (f"{ahead} tensors of heads that predict tokens further ahead (mtp)",) if ahead else ()


def _filled(model: Joined, run: TrainingRun, claims: Mapping[str, object], stated: object) -> int:
    """How many rows the vocabulary has, where it was filled up to more; 0 where it was not, or nobody states it.

    stated: by a config beside. Megatron makes the number of rows a multiple of 128 (make_vocab_size_divisible_by) for
    each tensor-parallel rank: who states fewer rows than that explains is wrong, or means something else.
    """
    words = stated if type(stated) is int else claims.get("vocab_size")
    each = claims.get("make_vocab_size_divisible_by")
    most = (each if type(each) is int and each > 0 else 128) * run.layout.get("tensor", 1)
    rows = model[EMBEDDING][0].shape[0]
    return words if type(words) is int and rows - most < words < rows and words > 0 else 0


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
