"""MXFP4 of gpt-oss: pairs of FP4 in bytes, 32 of them to a scale that is a power of two.

blocks U8 [E, N, K/32, 16], scales U8 [E, N, K/32]; the unpacked experts are [E, K, N].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.packed_module import PackedWeight

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule


def mxfp4(module: StoredModule) -> PackedWeight | None:
    blocks, scales = module.matrix("blocks"), module.matrix("scales")
    if blocks is None or scales is None or len(blocks.shape) != 4:
        return None
    experts, outputs, groups, _ = blocks.shape
    return PackedWeight("mxfp4", (experts, 32 * groups, outputs), 4, 32)
