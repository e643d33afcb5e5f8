"""Faults whose answers are word salad, and no reference to say so: signs of life alone have to see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.faults.case import Fault
from benchmarks.faults.hooks import as_loaded, logits

if TYPE_CHECKING:
    from benchmarks.faults.hooks import Patch


def _second_best(values: Any) -> Any:
    """The favourite is never taken."""
    return values.scatter(-1, values.argmax(-1, keepdim=True), float("-inf"))


def _sampled(values: Any) -> Any:
    """Tokens drawn at a temperature of 3 where the best was asked for."""
    import torch

    noise = -torch.empty_like(values, dtype=torch.float32).exponential_().log()
    return values / 3 + noise.to(values.dtype)


def _zeroed(*ends: str) -> Patch:
    def change(model: Any) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith(ends):
                parameter.data.zero_()

    return as_loaded(change)


def _layers_reversed(model: Any) -> None:
    layers = model.model.layers
    states = [{name: tensor.clone() for name, tensor in layer.state_dict().items()} for layer in layers]
    for layer, state in zip(layers, reversed(states), strict=True):
        for name, tensor in layer.state_dict().items():
            tensor.copy_(state[name])


def _rows_permuted(model: Any) -> None:
    import torch

    rows = model.model.embed_tokens.weight.data
    rows.copy_(rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))])


def _noisy(model: Any) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith("proj.weight"):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data += (parameter.data.float().std() * noise).to(parameter.dtype)


SALAD: dict[str, Patch] = {
    "the second best token": logits(_second_best),
    "a temperature of 3": logits(_sampled),
    "attention adds nothing": _zeroed("o_proj.weight"),
    "layers in reverse": as_loaded(_layers_reversed),
    "embedding rows permuted": as_loaded(_rows_permuted),
    "the head shifted by a row": logits(lambda values: values.roll(1, -1)),
    "weights half noise": as_loaded(_noisy),
}
_NAMES = r"^(order|prompted|context|script|reading|distribution|repetition|distinct|readable|determinism)"


_ALONE = ("--tokens", "160", "--reference", "none")


def _salad(patch: str) -> Fault:
    return Fault(
        patch,
        "salad",
        "fused",
        _NAMES,
        "verify-on-npu",
        "behaviour",
        patch=patch,
        options=_ALONE,
    )


SALAD_FAULTS: tuple[Fault, ...] = tuple(map(_salad, SALAD))
