"""Numbers that no honest training leaves behind: NaN, infinity, flipped bits, dead matrices, no elements at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.float_formats import FORMATS

if TYPE_CHECKING:
    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.checkpoint.float_formats import FloatFormat
    from weightsmith.documents import DamageEntry


@dataclass(frozen=True, slots=True)
class SpecialPatterns:
    """Where the magnitudes of a float format stop being numbers.

    infinity: its pattern, None where the format has none. nan: the first pattern of a NaN. absurd: the pattern of
    2^16, the first power of two past float16; None where the format ends before it.
    """

    infinity: int | None
    nan: int
    absurd: int | None = None

    @property
    def end(self) -> int:
        """The first pattern that is no finite number."""
        return self.nan if self.infinity is None else self.infinity


def _specials(fmt: FloatFormat) -> SpecialPatterns:
    absurd = fmt.bias + 16 << fmt.precision - 1
    return SpecialPatterns(fmt.infinity, fmt.infinity + 1, absurd if absurd < fmt.infinity else None)


# By safetensors names; the 8-bit rows follow Micikevicius et al., "FP8 formats for deep learning".
SPECIALS: dict[str, SpecialPatterns] = {
    **{dtype: _specials(fmt) for dtype, fmt in FORMATS.items()},
    "F8_E5M2": SpecialPatterns(0x7C, 0x7D),
    "F8_E4M3": SpecialPatterns(None, 0x7F),
}


def all_finite(patterns: Bits, dtype: str) -> bool:
    """Whether no pattern is NaN or infinity; true of dtypes that have neither.

    Without a copy: read as signed, the positive ones stand above all numbers; as unsigned, the negative ones do.
    """
    special = SPECIALS.get(dtype)
    if special is None or not patterns.size:
        return True
    sign = 1 << 8 * patterns.dtype.itemsize - 1
    signed = patterns.view(f"i{patterns.dtype.itemsize}")
    return int(signed.max()) < special.end and int(patterns.max()) < sign + special.end


_NORM = re.compile(r"norm[^.]*\.weight$|(^|\.)ln_\w+\.weight$")


@dataclass(frozen=True, slots=True)
class Damage:
    """`what` is wrong with `tensor`, as a phrase."""

    tensor: str
    what: str

    def document(self) -> DamageEntry:
        """One entry of `damage` in the JSON contract."""
        return {"tensor": self.tensor, "what": self.what}


class DamageCount:
    """Counts over one floating-point tensor, block by block.

    trained: it is a weight, and no scale or zero point of a packed one: these may well be all alike.
    """

    def __init__(self, tensor: Tensor, *, trained: bool = True) -> None:
        self._tensor, self._specials, self._trained = tensor, SPECIALS[tensor.dtype], trained
        self._nan = self._infinite = self._absurd = self._seen = 0
        self._smallest: int | None = None
        self._largest: int | None = None

    def add_rows(self, bits: Bits, magnitudes: Bits) -> None:
        """bits, magnitudes: patterns with and without their signs."""
        self._seen += bits.size
        largest = int(magnitudes.max())
        if largest >= self._specials.end:
            self._nan += int(np.count_nonzero(magnitudes >= self._specials.nan))
            if self._specials.infinity is not None:
                self._infinite += int(np.count_nonzero(magnitudes == self._specials.infinity))
        if self._specials.absurd is not None and largest >= self._specials.absurd:
            finite = magnitudes < self._specials.end
            self._absurd += int(np.count_nonzero(finite & (magnitudes >= self._specials.absurd)))
        # A tensor with two different patterns is neither zero nor constant: there is nothing more to learn.
        if self._smallest is None or self._smallest == self._largest:
            self._smallest = min(int(bits.min()), self._smallest if self._smallest is not None else 1 << 64)
            self._largest = max(int(bits.max()), self._largest if self._largest is not None else 0)

    def found(self) -> list[Damage]:
        """Every fault of the tensor; where only a sample was read, its message says so."""
        name, elements = self._tensor.name, self._tensor.elements
        scope = f"{elements}" if self._seen == elements else f"{self._seen} sampled"
        faults = []
        if self._nan:
            faults.append(Damage(name, f"{self._nan} NaN among {scope} elements"))
        if self._infinite:
            faults.append(Damage(name, f"{self._infinite} infinite among {scope} elements"))
        if self._absurd and self._matrix and name.endswith(".weight"):
            faults.append(
                Damage(name, f"{self._absurd} absurdly large (65,536 or more) among {scope} elements")
            )
        constant = self._smallest is not None and self._smallest == self._largest
        if self._trained and constant and not self._nan and not self._infinite:
            faults += self._uniform(scope)
        return faults

    def _uniform(self, scope: str) -> list[Damage]:
        """A matrix of one value was never trained. Biases may be; a norm may be all ones, not all zero."""
        name = self._tensor.name
        zero = self._largest == 0
        if zero and (self._matrix or _NORM.search(name)):
            return [Damage(name, f"all {scope} elements are zero")]
        if self._matrix:
            return [Damage(name, f"all {scope} elements are equal")]
        return []

    @property
    def _matrix(self) -> bool:
        return len(self._tensor.shape) >= 2 and min(self._tensor.shape) > 1


def without_elements(tensor: Tensor) -> Damage | None:
    """A tensor of zero elements: ZeRO-3 saves such placeholders when its shards were not gathered."""
    if tensor.elements:
        return None
    return Damage(tensor.name, f"has no elements (shape {list(tensor.shape)}): its data was never gathered")
