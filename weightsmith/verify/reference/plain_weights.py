"""In the reference's child: the weights that a packed checkpoint stands for, each made when a model takes it.

transformers loads a model from a dictionary, too. In this one stand no tensors yet: each is read and made plain, in
float32, when transformers asks for its numbers, as it asks a slice of a safetensors file. So names are mapped, experts
merged and dtypes chosen as for a plain checkpoint, and nothing is held beside the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.dtypes import TORCH_NAMES
from weightsmith.schemes import plain_view
from weightsmith.schemes.formula import Formula
from weightsmith.schemes.packing import left_packed, not_plain
from weightsmith.values.blocks import BlockReader
from weightsmith.values.plain_blocks import PlainBlocks
from weightsmith.verify.reference.controls import NoReference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.schemes import PlainView
    from weightsmith.schemes.formula import Fault


CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class PlainWeight:
    """One tensor of a plain view, as transformers takes a slice of a safetensors file: indexing it reads it.

    tensor: under its plain name and shape. made: how it is made of what is stored; None where it is stored plain.
    """

    tensor: Tensor
    made: Formula | None
    reader: TensorReader

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return self.tensor.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of what indexing it gives."""
        import torch

        return torch.float32 if self.made else getattr(torch, TORCH_NAMES[self.tensor.dtype] or "uint8")

    def to(self, device: object) -> PlainWeight:
        """Itself: transformers 4 moves to the CPU what it then reads."""
        return self

    def __getitem__(self, key: object) -> torch.Tensor:
        import torch

        if self.made is not None:
            whole = torch.from_numpy(self._made(self.made)).reshape(self.shape)
        else:
            array = self.reader.read(self.tensor)
            whole = torch.from_numpy(array.view(f"i{array.itemsize}")).view(self.dtype)
        return whole[key]

    def _made(self, formula: Formula) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        blocks = PlainBlocks(BlockReader(self.reader), BlockReader(self.reader))
        patterns, at = np.empty(self.tensor.elements, np.uint32), 0
        for block in blocks.blocks(formula):
            patterns[at : at + len(block)] = block
            at += len(block)
        assert at == len(patterns)
        return patterns.view(np.float32)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A packed checkpoint as this room knows it.

    weights: by plain name. fault: why there are none, though something is packed.
    """

    checkpoint: Checkpoint
    view: PlainView
    weights: Mapping[str, PlainWeight]
    fault: Fault | None


def unpacked(place: Path) -> Unpacked | None:
    """The plain weights of a checkpoint; None for a model's folder in which nothing is packed: transformers opens it.

    They keep its files open as they need them. A file alone, or weights without a config, transformers does not open.
    """
    checkpoint = open_checkpoint(place)
    view = plain_view(checkpoint)
    fault = not_plain(checkpoint, view) if view.modules else left_packed(checkpoint)
    if not view.modules and fault is None and (place / CONFIG).is_file():
        return None
    if fault is not None:
        return Unpacked(checkpoint, view, {}, fault)
    made = {module.plain: module.made for module in view.modules}
    formulas = {name: one for name, one in made.items() if isinstance(one, Formula)}
    reader = TensorReader(checkpoint)
    weights = {name: PlainWeight(one, formulas.get(name), reader) for name, one in view.tensors.items()}
    return Unpacked(checkpoint, view, weights, None)


def need_plain(found: Unpacked) -> Mapping[str, PlainWeight]:
    """Its weights. Raises NoReference where there are none."""
    if found.fault is not None:
        raise NoReference(f"{found.fault.subject} {found.fault.fact}")
    return found.weights
