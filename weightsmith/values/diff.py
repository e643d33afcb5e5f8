"""Compares two checkpoints tensor by tensor, streaming: same bytes, same values, or how far apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from weightsmith.checkpoint.data import TensorReader, numpy_dtype
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.expansion import refuse_expanded, refuse_holes
from weightsmith.checkpoint.fingerprint import fingerprint
from weightsmith.checkpoint.float_formats import FORMATS, cast, widen
from weightsmith.checkpoint.names import without_indices
from weightsmith.schemes import PlainView, plain_view
from weightsmith.schemes.formula import Formula
from weightsmith.values.blocks import BlockReader, as_bytes, grid, rows_per_block
from weightsmith.values.low_rank import rank_of_difference
from weightsmith.values.parallel import Tally, default_workers, for_each
from weightsmith.values.plain_blocks import PlainBlocks
from weightsmith.values.settings_diff import settings_diff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.arrays import Array, Bits, Doubles, Mask
    from weightsmith.documents import DiffDocument, LowRankEntry, TensorDifferenceEntry
    from weightsmith.values.lineage import Lineage
    from weightsmith.values.settings_diff import SettingDifference

# Elements of the largest matrix whose difference is searched for a low rank, and how many matrices of each kind are.
_LARGEST_MATRIX = 1 << 26
_PROBED = 3

# Of two tensors: the same bytes, the same values in other bytes, or neither. Of two checkpoints likewise.
Sameness = Literal["identical", "equal", "differs"]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """One tensor that both have.

    status: "identical" (dtype, shape and bytes), "equal" (every value the same, in another dtype or with
    other bits: -0.0 equals +0.0, and NaN equals NaN), "differs".
    mismatched: elements whose values differ, out of `elements`. max_abs: largest |a - b|. max_ulp: largest
    distance in representable numbers, counted in the coarser format when the dtypes differ (a number and its
    correct rounding are 0 apart). cosine: of the two flattened tensors. None stands for what is not defined:
    other shapes, a mismatch of NaN or infinity, integers (max_ulp), zero vectors (cosine, relative).
    relative: the norm of a - b over the norm of a. shapes: of both,
    where they differ. detail: what else differs, for people.
    """

    name: str
    status: Sameness
    max_abs: float | None
    max_ulp: int | None
    mismatched: int | None
    elements: int
    cosine: float | None
    detail: str = ""
    relative: float | None = None
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def document(self) -> TensorDifferenceEntry:
        """One entry of `tensors` in the JSON contract."""
        entry: TensorDifferenceEntry = {
            "name": self.name,
            "status": self.status,
            "max_abs": self.max_abs,
            "max_ulp": self.max_ulp,
            "mismatched": self.mismatched,
            "elements": self.elements,
            "cosine": self.cosine,
            "relative": self.relative,
        }
        if self.shapes:
            entry["shapes"] = self.shapes
        return entry


@dataclass(frozen=True, slots=True)
class LowRank:
    """Weights that differ by matrices of low rank, as a merged LoRA leaves them.

    weights: their name, with `*` for indices. rank: the same for all that were probed. tensors: how many of this name
    differ; probed: how many of these were looked at.
    """

    weights: str
    rank: int
    tensors: int
    probed: int

    def document(self) -> LowRankEntry:
        """One entry of `low_rank` in the JSON contract."""
        return {
            "weights": self.weights,
            "rank": self.rank,
            "tensors": self.tensors,
            "probed": self.probed,
        }


@dataclass(frozen=True, slots=True)
class CheckpointDifference:
    """verdict: "identical" (same bytes in the same format), "equal" (same values in another container), "differs".

    a, b: what was compared. packed: how the weights of a and of b are packed; empty for a side where none is.
    undone: one side alone is packed, and what its codes stand for was compared, as float32; else what is stored was.
    settings: of the files beside them; they do not bear on the verdict. low_rank: of weights that differ. lineage:
    what they are to each other, None when nobody asked.
    """

    a: Checkpoint
    b: Checkpoint
    verdict: Sameness
    tensors: tuple[TensorDifference, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    packed: tuple[str, str] = ("", "")
    undone: bool = False
    settings: tuple[SettingDifference, ...] = ()
    low_rank: tuple[LowRank, ...] = ()
    lineage: Lineage | None = None

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of what was read, of both sides."""
        sides = (("a", self.a), ("b", self.b))
        return {f"{side}: {file}": found for side, of in sides for file, found in fingerprint(of).items()}

    def document(self) -> DiffDocument:
        """The JSON contract of `diff`."""
        document: DiffDocument = {
            "command": "diff",
            "a": self.a.summary(),
            "b": self.b.summary(),
            "verdict": self.verdict,
            "tensors": [t.document() for t in self.tensors],
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
            "settings": [setting.document() for setting in self.settings],
            "low_rank": [found.document() for found in self.low_rank],
        }
        if self.lineage is not None:
            document["lineage"] = self.lineage.document()
        if self.undone:
            document["packed"] = {"a": self.packed[0] or None, "b": self.packed[1] or None}
        return document


def diff(
    a: Checkpoint,
    b: Checkpoint,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> CheckpointDifference:
    """Every tensor of both, in a's order. Memory: two blocks per worker.

    Where one side alone is packed, its codes are compared as what they stand for.

    Raises HostileCheckpoint or CorruptCheckpoint where one stands for far more bytes than it has, and what
    `TensorReader.read` raises.
    """
    for checkpoint in (a, b):
        refuse_expanded(checkpoint)
        refuse_holes(checkpoint)
    sides = _sides(a, b)
    shared = [(tensor, sides.b[name]) for name, tensor in sides.a.items() if name in sides.b]
    tally = Tally(sum(tensor.nbytes for tensor, _ in shared), progress)
    with TensorReader(a) as reader_a, TensorReader(b) as reader_b:

        def new_worker() -> Callable[[tuple[Tensor, Tensor]], TensorDifference]:
            return _comparer(sides, reader_a, reader_b, tally)

        tensors = tuple(for_each(shared, new_worker, workers or default_workers()))
        ranks = (
            ()
            if sides.made
            else _low_ranks(tensors, a, b, _PairReader(BlockReader(reader_a), BlockReader(reader_b)))
        )
    only_in_a = tuple(name for name in sides.a if name not in sides.b)
    only_in_b = tuple(name for name in sides.b if name not in sides.a)
    verdict = _verdict(
        {t.status for t in tensors}, alone=bool(only_in_a or only_in_b), moved=a.format != b.format
    )
    packed, undone = sides.packed, bool(sides.made)
    return CheckpointDifference(
        a, b, verdict, tensors, only_in_a, only_in_b, packed, undone, settings_diff(a, b), ranks
    )


def _verdict(statuses: Set[Sameness], *, alone: bool, moved: bool) -> Sameness:
    """alone: one side has tensors that the other lacks. moved: they lie in files of different formats."""
    if alone or "differs" in statuses:
        return "differs"
    return "identical" if statuses <= {"identical"} and not moved else "equal"


@dataclass(frozen=True, slots=True)
class _Sides:
    """What is compared: the tensors as they are stored, or as one side's codes stand for them.

    made: how the weights of the one side are made that is packed; empty where what is stored is compared.
    first: that side is a. packed: how each side is packed.
    """

    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]
    made: Mapping[str, Formula]
    first: bool
    packed: tuple[str, str]


def _sides(a: Checkpoint, b: Checkpoint) -> _Sides:
    left, right = plain_view(a), plain_view(b)
    made = {} if left.modules and right.modules else {**_formulas(left), **_formulas(right)}
    tables = (left.tensors, right.tensors) if made else (a.tensors, b.tensors)
    return _Sides(*tables, made, bool(left.modules), (left.packed_as, right.packed_as))


def _low_ranks(
    tensors: Sequence[TensorDifference], a: Checkpoint, b: Checkpoint, pair: _PairReader
) -> tuple[LowRank, ...]:
    """Of each kind of matrices that differ, where all that were probed are of one low rank."""
    kinds: dict[str, list[str]] = {}
    for found in tensors:
        tensor = a.tensors[found.name]
        matrix = len(tensor.shape) == 2 and 0 < tensor.elements <= _LARGEST_MATRIX
        if found.status == "differs" and found.relative is not None and matrix and _is_float(tensor.dtype):
            kinds.setdefault(without_indices(found.name), []).append(found.name)
    result = []
    for kind, names in kinds.items():
        some = names[:: -(-len(names) // _PROBED)]
        ranks = {_rank(a.tensors[name], b.tensors[name], pair) for name in some}
        if len(ranks) == 1 and (rank := ranks.pop()) is not None:
            result.append(LowRank(kind, rank, len(names), len(some)))
    return tuple(result)


def _rank(a: Tensor, b: Tensor, pair: _PairReader) -> int | None:
    columns = a.shape[1]

    def blocks() -> Iterator[Doubles]:
        for left, right in pair.blocks(a, b):
            yield (_values(right, b.dtype) - _values(left, a.dtype)).reshape(-1, columns)

    return rank_of_difference(blocks, (a.shape[0], columns))


def _formulas(view: PlainView) -> dict[str, Formula]:
    """How each weight that was packed is made; empty where one of them cannot be."""
    found = {module.plain: module.made for module in view.modules}
    known = {name: made for name, made in found.items() if isinstance(made, Formula)}
    return known if len(known) == len(found) else {}


def _comparer(
    sides: _Sides, reader_a: TensorReader, reader_b: TensorReader, tally: Tally
) -> Callable[[tuple[Tensor, Tensor]], TensorDifference]:
    """Compares in one thread, with buffers of its own."""
    pair = _PairReader(BlockReader(reader_a), BlockReader(reader_b))
    packed, plain = (pair.a, pair.b) if sides.first else (pair.b, pair.a)
    beside = BlockReader(reader_a if sides.first else reader_b)
    codes = _CodeReader(PlainBlocks(packed, beside), plain, first=sides.first)

    def compare(tensors: tuple[Tensor, Tensor]) -> TensorDifference:
        formula = sides.made.get(tensors[0].name)
        result = _compare(*tensors, pair) if formula is None else codes.compare(*tensors, formula)
        tally.add(tensors[0].nbytes)
        return result

    return compare


@dataclass(frozen=True, slots=True)
class _PairReader:
    a: BlockReader
    b: BlockReader

    def blocks(self, a: Tensor, b: Tensor) -> Iterator[tuple[Bits, Bits]]:
        """The same rows of both, one block at a time."""
        rows = grid(a)[0] if a.elements else 0
        fewer = min if a.contiguous and b.contiguous else max  # a strided view is slow in small blocks
        step = fewer(rows_per_block(a), rows_per_block(b))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield self.a.block(a, start, stop).reshape(-1), self.b.block(b, start, stop).reshape(-1)


@dataclass(frozen=True, slots=True)
class _CodeReader:
    """Compares what codes of one side stand for with the numbers of the other. first: side a is the packed one."""

    codes: PlainBlocks
    plain: BlockReader
    first: bool

    def compare(self, a: Tensor, b: Tensor, formula: Formula) -> TensorDifference:
        """The packed one comes under its plain name and shape."""
        other = b if self.first else a
        if a.shape != b.shape or other.dtype not in FORMATS:
            return _of_other_shapes(a, b)
        measured, at = _Measurement(), 0
        dtypes = ("F32", b.dtype) if self.first else (a.dtype, "F32")
        for made in self.codes.blocks(formula):
            plain = self.plain.elements(other, at, at + len(made))
            measured.add_block(*((made, plain) if self.first else (plain, made)), *dtypes)
            at += len(made)
        found = measured.verdict(replace(a, dtype=dtypes[0]), replace(b, dtype=dtypes[1]))
        return replace(found, detail=f"what the codes of {'a' if self.first else 'b'} stand for")


def _of_other_shapes(a: Tensor, b: Tensor) -> TensorDifference:
    detail = f"{a.dtype} {list(a.shape)} against {b.dtype} {list(b.shape)}"
    return TensorDifference(a.name, "differs", None, None, None, a.elements, None, detail)


def _compare(a: Tensor, b: Tensor, pair: _PairReader) -> TensorDifference:
    if a.shape != b.shape:
        detail, shapes = f"shape {list(a.shape)} against {list(b.shape)}", (a.shape, b.shape)
        return TensorDifference(a.name, "differs", None, None, None, a.elements, None, detail, shapes=shapes)
    if a.dtype == b.dtype:
        if BITS[a.dtype] < 8:
            return _compare_packed(a, b, pair)
        if all(np.array_equal(left, right) for left, right in pair.blocks(a, b)):
            return TensorDifference(
                a.name, "identical", 0.0, _ulp_of_identical(a), 0, a.elements, 1.0, relative=0.0
            )
    elif BITS[a.dtype] < 8 or BITS[b.dtype] < 8 or "C64" in (a.dtype, b.dtype):
        detail = f"dtype {a.dtype} against {b.dtype}"
        return TensorDifference(a.name, "differs", None, None, None, a.elements, None, detail)
    measured = _Measurement()
    for left, right in pair.blocks(a, b):
        measured.add_block(left, right, a.dtype, b.dtype)
    return measured.verdict(a, b)


def _ulp_of_identical(tensor: Tensor) -> int | None:
    """0, or None for a dtype whose distances are not counted."""
    return 0 if tensor.dtype in FORMATS else None


def _compare_packed(a: Tensor, b: Tensor, pair: _PairReader) -> TensorDifference:
    """Sub-byte elements: equal bytes or not."""
    if all(np.array_equal(left, right) for left, right in pair.blocks(as_bytes(a), as_bytes(b))):
        return TensorDifference(a.name, "identical", 0.0, None, 0, a.elements, 1.0)
    return TensorDifference(a.name, "differs", None, None, None, a.elements, None, f"{a.dtype} bytes differ")


class _Measurement:
    """The running figures of one pair of tensors."""

    def __init__(self) -> None:
        self.mismatched = self.other_bits = 0
        self.max_abs, self.max_ulp = 0.0, 0
        self.dot = self.norm_a = self.norm_b = self.apart = 0.0
        self.finite = True

    def add_block(self, left: Bits, right: Bits, dtype_a: str, dtype_b: str) -> None:
        a, b = _values(left, dtype_a), _values(right, dtype_b)
        with np.errstate(invalid="ignore", over="ignore"):
            self.dot += float(np.einsum("i,i->", a, b))
            self.norm_a += float(np.einsum("i,i->", a, a))
            self.norm_b += float(np.einsum("i,i->", b, b))
            if dtype_a == dtype_b:
                differ = left != right
                self.other_bits += int(np.count_nonzero(differ))
                # 64-bit integers do not fit float64: for whole numbers the bits decide.
                unequal = differ & _unequal(a, b) if _is_float(dtype_a) else differ
            else:
                unequal = _unequal(a, b)
            if not unequal.any():
                return
            self.mismatched += int(np.count_nonzero(unequal))
            differences = a[unequal] - b[unequal]
            largest = float(np.abs(differences).max())
            self.apart += float(np.einsum("i,i->", differences, differences))
        if not math.isfinite(largest):
            self.finite = False
            return
        self.max_abs = max(self.max_abs, largest)
        if dtype_a in FORMATS and dtype_b in FORMATS:
            self.max_ulp = max(self.max_ulp, _ulps(left[unequal], right[unequal], dtype_a, dtype_b))

    def verdict(self, a: Tensor, b: Tensor) -> TensorDifference:
        """What all blocks together show."""
        status: Sameness = "differs" if self.mismatched else "equal"
        scale = math.sqrt(self.norm_a) * math.sqrt(self.norm_b)
        cosine = self.dot / scale if math.isfinite(scale) and scale > 0 and math.isfinite(self.dot) else None
        if not self.mismatched:
            cosine = 1.0
        measurable = a.dtype in FORMATS and b.dtype in FORMATS and self.finite
        detail = f"dtype {a.dtype} against {b.dtype}" if a.dtype != b.dtype else ""
        if not self.mismatched and not detail:
            detail = f"{self.other_bits} zeros or NaN have other bits (-0.0 against +0.0)"
        return TensorDifference(
            a.name,
            status,
            self.max_abs if self.finite else None,
            self.max_ulp if measurable else None,
            self.mismatched,
            a.elements,
            cosine if cosine is None else max(-1.0, min(1.0, cosine)),
            detail,
            math.sqrt(self.apart / self.norm_a) if self.finite and 0 < self.norm_a < math.inf else None,
        )


def _unequal(a: Doubles, b: Doubles) -> Mask:
    unequal: Mask = (a != b) & ~(np.isnan(a) & np.isnan(b))
    return unequal


def _is_float(dtype: str) -> bool:
    return dtype in FORMATS or dtype.startswith("F8")


def _values(bits: Bits, dtype: str) -> Doubles:
    """The numbers as float64; exact but for 64-bit integers beyond 2**53."""
    if dtype in FORMATS:
        return widen(bits, FORMATS[dtype])
    array: Array = bits.view(numpy_dtype(dtype))
    if dtype.startswith("F8"):
        array = array.astype(np.float32)
    return array.astype(np.float64)


def _ulps(left: Bits, right: Bits, dtype_a: str, dtype_b: str) -> int:
    """Largest distance between patterns of finite numbers, in the coarser of the two formats."""
    a, b = FORMATS[dtype_a], FORMATS[dtype_b]
    coarser = min(a, b, key=lambda fmt: fmt.precision)
    left = cast(left.view(numpy_dtype(dtype_a)), a, coarser)[0].view(coarser.word)
    right = cast(right.view(numpy_dtype(dtype_b)), b, coarser)[0].view(coarser.word)
    mask = coarser.word.type(coarser.magnitude)
    high, low = np.maximum(left & mask, right & mask), np.minimum(left & mask, right & mask)
    opposite = (left ^ right) > mask
    # Across zero the distance is the sum. It stays below 2**64: magnitudes have at most 63 bits.
    wide_high, wide_low = high.astype(np.uint64), low.astype(np.uint64)
    distances = np.where(opposite, wide_high + wide_low, wide_high - wide_low)
    return int(distances.max())
