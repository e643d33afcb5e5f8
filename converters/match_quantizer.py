"""Which quantizer made a published fused checkpoint: each is tried on a sample of the latent weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.float_formats import FORMATS
from weightsmith.errors import ConversionRefused
from weightsmith.values.blocks import BlockReader, grid
from weightsmith.values.fusion import WHOLE_ROW
from weightsmith.values.linear import is_linear
from weightsmith.values.quantizers import Quantizer, candidates, fuse_as
from weightsmith.values.ternary_quantizer import READABLE, NotFiniteError
from weightsmith.values.value_survey import survey_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.place import Place

# A dozen tensors of a quarter of a million numbers each tell quantizers apart that differ in one of 10,000, in seconds.
_TENSORS, _NUMBERS = 12, 1 << 18
# The right quantizer in another order of summation flips one code in some millions; a wrong one, one in a thousand.
_CODES_THAT_AGREE = 0.9995


@dataclass(frozen=True, slots=True)
class QuantizerMatch:
    """How well a quantizer reproduces a fused checkpoint.

    numbers: how many numbers were sampled, in so many `tensors`.
    equal: how many of these come out equal to the bit (-0 counts as 0).
    codes: how many come out with the same sign.
    """

    quantizer: Quantizer
    numbers: int
    equal: int
    codes: int
    tensors: int

    def __str__(self) -> str:
        share = 100 * self.equal / self.numbers
        exact = "all" if self.equal == self.numbers else f"{self.equal:,} of"
        return (
            f"{exact} {self.numbers:,} numbers sampled in {self.tensors} tensors come out equal ({share:.4f} %), "
            f"{self.numbers - self.codes:,} codes differ, with {self.quantizer}"
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    """The same rows of one weight, latent and fused, as bit patterns.

    source, target: the dtypes of the latent and of the fused rows.
    """

    latent: NDArray[np.generic]
    source: str
    fused: NDArray[np.generic]
    target: str


def match_quantizer(checkpoint: Checkpoint, reference: Place, group_size: int | None) -> QuantizerMatch:
    """The quantizer that comes nearest to the fused checkpoint at `reference`.

    checkpoint: the latent weights.
    group_size: the only one to try; None for the one that the reference's numbers show.

    Raises ConversionRefused when the reference is not fused, not of this model, or made in no way that is known here.
    """
    fused = open_checkpoint(reference)
    size = _group_size(fused) if group_size is None else group_size
    names = _common(checkpoint, fused, size)
    pairs = _sample(checkpoint, fused, names)
    tried = [_compare(pairs, quantizer) for quantizer in candidates(size)]
    best = max(tried, key=lambda found: (found.equal, found.codes))
    if best.codes < _CODES_THAT_AGREE * best.numbers:
        raise ConversionRefused(
            reference,
            f"no quantizer that is known reproduces it; the nearest: {best}",
            "is it of this very model?",
        )
    return best


def _group_size(fused: Checkpoint) -> int:
    found = survey_values(fused, sample=True).fusion
    if found.state != "fused" or found.group_size is None:
        raise ConversionRefused(
            fused.path,
            f"is {found.state}: {'; '.join(found.evidence)}",
            "name a fused checkpoint of the model",
        )
    return found.group_size


def _common(checkpoint: Checkpoint, fused: Checkpoint, size: int) -> Sequence[str]:
    """A few linear weights that both have, spread over the model."""
    names = [
        name
        for name, tensor in checkpoint.tensors.items()
        if _usable(tensor, size)
        and name in fused.tensors
        and _usable(fused.tensors[name], size)
        and fused.tensors[name].shape == tensor.shape
    ]
    if not names:
        raise ConversionRefused(
            fused.path,
            f"shares no linear weight of the same shape with {checkpoint.path}",
            "is it of this model?",
        )
    return names[:: -(-len(names) // _TENSORS)]


def _usable(tensor: Tensor, size: int) -> bool:
    return (
        is_linear(tensor) and tensor.dtype in READABLE and (size == WHOLE_ROW or tensor.shape[1] % size == 0)
    )


def _sample(checkpoint: Checkpoint, fused: Checkpoint, names: Sequence[str]) -> list[_Pair]:
    """The middle rows of each tensor."""
    pairs = []
    with TensorReader(checkpoint) as ours, TensorReader(fused) as theirs:
        left, right = BlockReader(ours), BlockReader(theirs)
        for name in names:
            a, b = checkpoint.tensors[name], fused.tensors[name]
            rows, cols = grid(a)
            count = min(rows, max(1, _NUMBERS // cols))
            start = (rows - count) // 2
            latent = left.block(a, start, start + count).copy()
            pairs.append(_Pair(latent, a.dtype, right.block(b, start, start + count).copy(), b.dtype))
    return pairs


def _compare(pairs: Sequence[_Pair], quantizer: Quantizer) -> QuantizerMatch:
    numbers = equal = codes = 0
    for pair in pairs:
        fmt = FORMATS[pair.target]
        numbers += pair.fused.size
        try:
            ours = fuse_as(pair.latent, pair.source, pair.target, quantizer).view(fmt.word)
        except NotFiniteError:
            continue  # too small a dtype for this arithmetic, or damage, which the conversion itself will name
        theirs = np.where(pair.fused == fmt.sign, 0, pair.fused).astype(fmt.word)
        equal += int(np.count_nonzero(ours == theirs))
        shift = fmt.word.type(fmt.width - 1)
        same = ((ours == 0) == (theirs == 0)) & ((ours >> shift) == (theirs >> shift))
        codes += int(np.count_nonzero(same))
    return QuantizerMatch(quantizer, numbers, equal, codes, len(pairs))
