"""What breaks a model, done in place to a copy of a sound one in transformers, as a wrong port or file does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Break = Callable[[Any], None]


def _linear(model: Any, *ends: str) -> Iterator[Any]:
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head" and (not ends or name.endswith(ends)):
            yield module


def _stacks(model: Any) -> list[Any]:
    """The lists of decoder layers: one of a Llama, two of an HRM-Text."""
    inner = model.model
    return [inner.layers] if hasattr(inner, "layers") else [inner.L_module.layers, inner.H_module.layers]


def _norms_lost(model: Any) -> None:
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.fill_(1.0)


def _norms_plus_one(model: Any) -> None:
    """Gemma's convention, weight + 1, on a model that has the other one."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data += 1.0


def _swap(first: str, second: str) -> Break:
    def change(model: Any) -> None:
        for a, b in zip(_linear(model, first), _linear(model, second), strict=True):
            a.weight.data, b.weight.data = b.weight.data, a.weight.data

    return change


def _rope(base: float) -> Break:
    def change(model: Any) -> None:
        for module in model.modules():
            if hasattr(module, "inv_freq"):
                size = 2 * len(module.inv_freq)
                module.inv_freq = base ** -(torch.arange(0, size, 2).float() / size)

    return change


def _no_positions(model: Any) -> None:
    for module in model.modules():
        if hasattr(module, "inv_freq"):
            module.inv_freq = torch.zeros_like(module.inv_freq)


def _meta_rows(model: Any) -> None:
    """Query and key rows in Meta's order, which pairs neighbouring channels."""
    head = model.config.head_dim
    for module in _linear(model, "q_proj", "k_proj"):
        rows, columns = module.weight.shape
        pairs = module.weight.data.view(rows // head, 2, head // 2, columns)
        module.weight.data = pairs.transpose(1, 2).reshape(rows, columns)


def _scaled(factor: float, *ends: str, only: int | None = None) -> Break:
    def change(model: Any) -> None:
        for number, module in enumerate(_linear(model, *ends)):
            if only is None or number == only:
                module.weight.data *= factor

    return change


def _heads_rolled(model: Any) -> None:
    """Keys and values of the wrong head."""
    for module in _linear(model, "k_proj"):
        module.weight.data = module.weight.data.roll(model.config.head_dim, 0)


def _untied(model: Any) -> None:
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.data.clone())


def _embedding_permuted(model: Any) -> None:
    _untied(model)
    order = torch.randperm(model.config.vocab_size, generator=torch.Generator().manual_seed(0))
    model.model.embed_tokens.weight.data = model.model.embed_tokens.weight.data[order]


def _embedding_shifted(model: Any) -> None:
    _untied(model)
    model.model.embed_tokens.weight.data = model.model.embed_tokens.weight.data.roll(1, 0)


def _head_shifted(model: Any) -> None:
    _untied(model)
    model.lm_head.weight.data = model.lm_head.weight.data.roll(1, 0)


def _both_permuted(model: Any) -> None:
    """Another tokenizer of the same size: rows of embedding and head in another order."""
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    order = torch.randperm(model.config.vocab_size, generator=torch.Generator().manual_seed(0))
    model.model.embed_tokens.weight.data = model.model.embed_tokens.weight.data[order]
    if not tied:
        model.lm_head.weight.data = model.lm_head.weight.data[order]


def _embedding_scaled(model: Any) -> None:
    _untied(model)
    model.model.embed_tokens.weight.data *= model.config.hidden_size**0.5


def _order(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Break:
    """Layers' weights in another order."""

    def alter(model: Any) -> None:
        for stack in _stacks(model):
            states = [{k: v.clone() for k, v in layer.state_dict().items()} for layer in stack]
            for layer, state in zip(stack, change(states), strict=True):
                layer.load_state_dict(state)

    return alter


def _middle_twice(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    middle = len(states) // 2
    return [*states[:middle], states[middle - 1], *states[middle + 1 :]]


def _middle_swapped(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    middle = len(states) // 2
    states[middle - 1], states[middle] = states[middle], states[middle - 1]
    return states


def _stranger(model: Any) -> None:
    """A middle layer of another model: matrices of the same sizes and spread that mean nothing here."""
    generator = torch.Generator().manual_seed(0)
    stack = _stacks(model)[0]
    for parameter in stack[len(stack) // 2].parameters():
        if parameter.dim() == 2:
            parameter.data = torch.randn(parameter.shape, generator=generator) * parameter.data.std()


def _through(dtype: torch.dtype) -> Break:
    def change(model: Any) -> None:
        for module in _linear(model):
            module.weight.data = module.weight.data.to(dtype).to(module.weight.dtype)

    return change


def _integers(bits: int) -> Break:
    """One scale for a whole matrix."""

    def change(model: Any) -> None:
        for module in _linear(model):
            scale = module.weight.data.abs().max() / (2 ** (bits - 1) - 1)
            module.weight.data = (module.weight.data / scale).round() * scale

    return change


def _nibbles(model: Any) -> None:
    """Packed int4 read with the two halves of a byte exchanged."""
    for module in _linear(model):
        rows, columns = module.weight.shape
        module.weight.data = module.weight.data.view(rows, columns // 2, 2).flip(-1).reshape(rows, columns)


def _scales_shifted(model: Any) -> None:
    """Each group of 32 inputs with its neighbour's scale."""
    for module in _linear(model):
        parts = module.weight.data.view(len(module.weight), -1, 32)
        scale = parts.abs().amax(-1, keepdim=True)
        module.weight.data = (parts / scale * scale.roll(1, 1)).view_as(module.weight)


def _scales_lost(model: Any) -> None:
    """Output channels without their scales."""
    for module in _linear(model, "up_proj"):
        scale = module.weight.data.abs().amax(-1, keepdim=True)
        module.weight.data = module.weight.data / scale * scale.mean()


class _Activation(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = function


def _activation(function: Callable[[torch.Tensor], torch.Tensor]) -> Break:
    def change(model: Any) -> None:
        for module in list(model.modules()):
            if hasattr(module, "act_fn"):
                module.act_fn = _Activation(function)

    return change


def _noise(share: float) -> Break:
    def change(model: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        for module in _linear(model):
            noise = torch.randn(module.weight.shape, generator=generator)
            module.weight.data += share * module.weight.data.std() * noise

    return change


def _random(model: Any) -> None:
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.02)


def _transposed(model: Any) -> None:
    for module in _linear(model, "o_proj"):
        module.weight.data = module.weight.data.T.contiguous()


def _attention_scale(factor: float) -> Break:
    def change(model: Any) -> None:
        for module in model.modules():
            if hasattr(module, "scaling"):
                module.scaling *= factor

    return change


def _cycles(model: Any) -> None:
    model.model.config.H_cycles = 1


def _embedding_scale_lost(model: Any) -> None:
    model.model.embedding_scale = 1.0
    model.config.embedding_scale = 1.0


BREAKS: dict[str, Break] = {
    "norm gains lost": _norms_lost,
    "norm gains plus one": _norms_plus_one,
    "q and k exchanged": _swap("q_proj", "k_proj"),
    "k and v exchanged": _swap("k_proj", "v_proj"),
    "gate and up exchanged": _swap("mlp.gate_proj", "up_proj"),
    "RoPE base 100": _rope(100.0),
    "RoPE base ten times": _rope(1e6),
    "no positions": _no_positions,
    "rows in Meta's RoPE order": _meta_rows,
    "all matrices by 1.5": _scaled(1.5),
    "one down_proj by 8": _scaled(8.0, "down_proj", only=2),
    "attention lost": _scaled(0.0, "o_proj"),
    "MLP lost": _scaled(0.0, "down_proj"),
    "key heads rolled by one": _heads_rolled,
    "embedding rows permuted": _embedding_permuted,
    "embedding rows shifted by one": _embedding_shifted,
    "head rows shifted by one": _head_shifted,
    "another tokenizer of the same size": _both_permuted,
    "embedding scaled as Gemma's": _embedding_scaled,
    "layers in reverse": _order(lambda states: states[::-1]),
    "two middle layers exchanged": _order(_middle_swapped),
    "a layer twice, another lost": _order(_middle_twice),
    "a layer of another model": _stranger,
    "fp8 e5m2 without scales": _through(torch.float8_e5m2),
    "fp8 e4m3 without scales": _through(torch.float8_e4m3fn),
    "int4, one scale a matrix": _integers(4),
    "int3, one scale a matrix": _integers(3),
    "nibbles exchanged": _nibbles,
    "group scales shifted": _scales_shifted,
    "channel scales lost": _scales_lost,
    "ReLU for SiLU": _activation(torch.nn.functional.relu),
    "identity for SiLU": _activation(lambda values: values),
    "noise of 30 %": _noise(0.3),
    "noise of 60 %": _noise(0.6),
    "noise of 100 %": _noise(1.0),
    "random weights": _random,
    "o_proj transposed": _transposed,
    "attention scale eightfold": _attention_scale(8.0),
    "attention scale an eighth": _attention_scale(0.125),
}
