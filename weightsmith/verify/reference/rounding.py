"""In the reference's child: a model whose packed layers round their inputs, as the engine does by design."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.float_formats import FORMATS, widen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor as TorchTensor
    from torch.nn import Module

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.verify.inputs.activations import Rounding

# The largest number of E4M3.
_LARGEST_FLOAT = 448.0
_LEAST_SCALE = 1e-12


@contextmanager
def rounded_inputs(
    model: Module, roundings: Mapping[str, Rounding], checkpoint: Checkpoint
) -> Iterator[None]:
    """Each linear layer that is named rounds what it is given, for as long as the block lasts."""
    hooks = []
    with TensorReader(checkpoint) as reader:
        for name, module in rounding_layers(model, roundings).items():
            one = roundings[name]
            scale, zero = _number(reader, one.scale, 0.0), _number(reader, one.zero, 0.0)
            hooks.append(module.register_forward_pre_hook(partial(_before, one, scale, zero)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def rounding_layers(model: Module, roundings: Mapping[str, Rounding]) -> dict[str, Module]:
    """The layers of a model that are named among those that round; merged experts are not."""
    from torch.nn import Linear

    return {name: one for name, one in model.named_modules() if name in roundings and isinstance(one, Linear)}


def _number(reader: TensorReader, tensor: Tensor | None, absent: float) -> float:
    if tensor is None:
        return absent
    array = reader.read(tensor).reshape(-1)
    if tensor.dtype in FORMATS:
        fmt = FORMATS[tensor.dtype]
        return float(widen(array.view(fmt.word), fmt)[0])
    return float(array[0])


def _before(
    one: Rounding, scale: float, zero: float, _module: Module, inputs: tuple[TorchTensor, ...]
) -> tuple[TorchTensor, ...]:
    return rounded(inputs[0], one, scale, zero), *inputs[1:]


def rounded(values: TorchTensor, one: Rounding, scale: float = 0.0, zero: float = 0.0) -> TorchTensor:
    """Numbers [..., channels] as the engine's codes stand for them, in their own dtype.

    scale, zero: those that are stored; a scale of 0 is taken from the numbers.
    """
    import torch

    exact = values.float()
    if one.share == "group" and exact.shape[-1] % one.width == 0:
        exact = exact.unflatten(-1, (-1, one.width))
    axes = tuple(range(exact.dim())) if one.share == "tensor" else (-1,)
    most = float(2 ** (one.bits - 1) - 1) if one.numbers == "int" else _LARGEST_FLOAT
    step = torch.tensor(scale) if scale else exact.abs().amax(axes, keepdim=True) / most
    middle = torch.tensor(zero)
    if not one.symmetric and not scale:
        low, high = exact.amin(axes, keepdim=True).clamp(max=0), exact.amax(axes, keepdim=True).clamp(min=0)
        step = (high - low) / (2 * most + 1)
        middle = (-most - 1 - low / step.clamp(min=_LEAST_SCALE)).round()
    step = step.clamp(min=_LEAST_SCALE)
    if one.numbers == "int":
        codes = ((exact / step).round() + middle).clamp(-most - 1, most) - middle
    else:
        codes = (exact / step).clamp(-most, most).to(torch.float8_e4m3fn).float()
    return (codes * step).reshape(values.shape).to(values.dtype)
