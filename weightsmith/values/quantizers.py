"""The variants of the ternary quantizer that published code has used: group size, precision, place of epsilon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.float_formats import F32, FORMATS, array_type, cast, round_magnitudes, widen
from weightsmith.values.ternary_quantizer import EPS, NotFiniteError, fuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.arrays import Array, Bits, Doubles, Singles
    from weightsmith.checkpoint.float_formats import FloatFormat

EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Quantizer:
    """One variant.

    group_size: channels that share a scale, -1 for one scale per row.
    arithmetic: EXACT as in `weightsmith.values.ternary_quantizer`, or the dtype in which every step is rounded.

    added: epsilon is added to the mean, as in W / (mean + eps); otherwise it is the smallest scale.
    """

    group_size: int
    arithmetic: str = EXACT
    epsilon: float = EPS
    added: bool = False

    def __str__(self) -> str:
        scale = f"mean + {self.epsilon:g}" if self.added else f"max(mean, {self.epsilon:g})"
        return f"s = {scale}, {self.arithmetic} arithmetic"


def candidates(group_size: int) -> Iterator[Quantizer]:
    """The exact one first: of equals the first is taken. The epsilons are those of published BitNet code."""
    yield Quantizer(group_size)
    for arithmetic in ("F32", "BF16", "F16"):
        yield Quantizer(group_size, arithmetic)
        for epsilon in (1e-5, 1e-6, 1e-8):
            yield Quantizer(group_size, arithmetic, epsilon, added=True)


def fuse_as(weights: Array, source: str, target: str, quantizer: Quantizer, out: Bits | None = None) -> Array:
    """Fused weights of a [rows, cols] array, in dtype `target`, by this quantizer. Raises as `fuse` does.

    out: as for `fuse`.

    A mean in float32 is the exact one rounded once: the order in which a library sums changes its last bit,
    which a bf16 result nearly never shows.
    """
    if quantizer.arithmetic == EXACT:
        return fuse(weights, source, target, quantizer.group_size, out)
    read, own = FORMATS[source], FORMATS[quantizer.arithmetic]
    rows, cols = weights.shape
    size = cols if quantizer.group_size == -1 else quantizer.group_size
    singles, _ = cast(weights.view(array_type(read)), read, F32)
    grouped = singles.reshape(-1, size)
    if not np.isfinite(grouped).all():
        raise NotFiniteError("NaN or infinity among the weights")
    scales = _scales(grouped, own, quantizer)
    with np.errstate(over="ignore", under="ignore"):
        quotients = _rounded(np.divide(grouped, scales[:, None], dtype=np.float32, casting="same_kind"), own)
    codes = np.clip(np.rint(quotients), -1, 1)
    written, lost = cast(scales.astype(np.float32), F32, FORMATS[target])
    if lost or not np.isfinite(scales).all():
        raise NotFiniteError(f"a scale is too large for {target}")
    # + 0.0 makes the negative zeros positive; a code times a scale is exact in every format.
    values = codes * written.astype(np.float32)[:, None] + np.float32(0)
    fused, _ = cast(values, F32, FORMATS[target])
    if out is not None:
        out[:] = fused.reshape(rows, cols).view(out.dtype)
    return fused.reshape(rows, cols)


def _scales(grouped: Singles, own: FloatFormat, quantizer: Quantizer) -> Doubles:
    """The scale of each group as it stands after every rounding to `own`."""
    means = np.abs(grouped).mean(axis=1, dtype=np.float64)
    if not quantizer.added:
        return widen(round_magnitudes(np.maximum(means, quantizer.epsilon), own), own)
    rounded = widen(round_magnitudes(means, own), own)
    return widen(round_magnitudes(rounded + quantizer.epsilon, own), own)


def _rounded(values: Singles, own: FloatFormat) -> Singles:
    rounded, _ = cast(values, F32, own)
    back, _ = cast(rounded, own, F32)
    singles: Singles = back.view(np.float32)
    return singles
