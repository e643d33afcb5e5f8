"""One pass over a checkpoint's numbers: whether its weights are ternary, and what is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import read_json_object
from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.errors import WeightsmithError
from weightsmith.schemes.packed import packed_tensors
from weightsmith.values.blocks import BlockReader, grid
from weightsmith.values.claims import read_claims
from weightsmith.values.damage import PATTERNS, Damage, DamageCount, without_elements
from weightsmith.values.floats import FORMATS
from weightsmith.values.fusion import Fusion, TensorFusion, TernaryTest, judge
from weightsmith.values.linear import is_linear
from weightsmith.values.parallel import Tally, default_workers, for_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint import Checkpoint, Tensor

# Bytes read of each tensor for a sampled verdict: 0.2 s for the 196 linear layers of a 1 B model.
SAMPLE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Survey:
    """fusion: the verdict on ternary weights. damage: every fault, in file order. sampled: only a part was read."""

    fusion: Fusion
    damage: tuple[Damage, ...]
    sampled: bool

    def document(self) -> dict[str, object]:
        """What `inspect --values` adds to the JSON contract."""
        sampled = {"sampled": True} if self.sampled else {}
        return {
            "fusion": self.fusion.document(),
            "damage": [fault.document() for fault in self.damage],
            **sampled,
        }


@dataclass(frozen=True, slots=True)
class _Seen:
    damage: list[Damage]
    fusion: TensorFusion | None


def survey(
    checkpoint: Checkpoint,
    sample: bool = False,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Survey:
    """Reads every floating-point tensor once, or a sample of each, and judges.

    Memory: one block per worker. Raises what `TensorReader.read` raises.
    """
    tensors = [t for t in checkpoint.tensors.values() if t.dtype in PATTERNS]
    limit = SAMPLE_BYTES if sample else None
    tally = Tally(sum(min(t.nbytes, limit or t.nbytes) for t in tensors), progress)
    with TensorReader(checkpoint) as reader:

        def new_worker() -> Callable[[Tensor], _Seen]:
            blocks = BlockReader(reader)
            return lambda tensor: _look(tensor, blocks, limit, tally)

        seen = for_each(tensors, new_worker, workers or default_workers())
    fits = [s.fusion for s in seen if s.fusion is not None]
    claims = read_claims(checkpoint.root, config_beside(checkpoint))
    fusion = judge(fits, packed_tensors(checkpoint), claims, sample)
    damage = tuple(fault for s in seen for fault in s.damage)
    return Survey(fusion, damage, sample)


def config_beside(checkpoint: Checkpoint) -> dict[str, object] | None:
    """The checkpoint's config.json; None when there is none that can be read (`infer-config` says why)."""
    path = checkpoint.root / "config.json"
    try:
        return read_json_object(path) if path.exists() else None
    except WeightsmithError:
        return None


def _look(tensor: Tensor, reader: BlockReader, limit: int | None, tally: Tally) -> _Seen:
    empty = without_elements(tensor)
    if empty is not None:
        return _Seen([empty], None)
    damage = DamageCount(tensor)
    linear = is_linear(tensor)
    ternary = TernaryTest(tensor.name, grid(tensor)[1], FORMATS[tensor.dtype]) if linear else None
    mask = (1 << BITS[tensor.dtype] - 1) - 1
    for first_row, bits in reader.blocks(tensor, limit):
        magnitudes = bits & bits.dtype.type(mask)
        damage.see(bits, magnitudes)
        if ternary is not None and ternary.undecided:
            ternary.see(first_row, bits, magnitudes)
        tally.add(bits.nbytes)
    return _Seen(damage.found(), ternary.verdict() if ternary is not None else None)
