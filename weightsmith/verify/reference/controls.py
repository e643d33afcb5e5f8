"""In the reference's child: one thing of a loaded model made wrong, and right again afterwards."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING

from weightsmith.verify.inputs.kinds import EXPERTS, ROPE_BASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.nn import Module
    from transformers import PretrainedConfig, PreTrainedModel

    from weightsmith.verify.inputs.kinds import Variation

# Where models keep their layers: decoders and ModernBERT, BERT and its like, GPT-2.
_STACKS = ("layers", "layer", "h")
# What models call the part that chooses experts.
_ROUTERS = frozenset({"gate", "router"})
# What a loader falls back to that does not find the config's own, and Qwen's for models that have the former.
_USUAL_BASE, _OTHER_BASE = 10_000.0, 1_000_000.0


class NoReference(Exception):
    """transformers cannot be the reference of this model, or not in this variation, and why."""


@contextmanager
def altered(model: PreTrainedModel, variation: Variation) -> Iterator[None]:
    """The model of one variation, for as long as the block lasts; nothing changes for the right one.

    Raises NoReference when the model lacks what is to be made wrong.
    """
    if variation.skip_layer is not None:
        with _without_layer(model, variation.skip_layer):
            yield
    elif variation.rope_base:
        with _other_rope_base(model):
            yield
    elif variation.experts == "mixed-up":
        with _mixed_experts(model):
            yield
    elif variation.experts == "fewer":
        with _fewer_experts(model):
            yield
    else:
        yield


@contextmanager
def _without_layer(model: PreTrainedModel, depth: float) -> Iterator[None]:
    """One layer of the text model out: the control that a broken weight loader would look like.

    Of several stacks (HRM-Text has two) the first gives one.
    """
    from torch.nn import ModuleList

    stacks = [
        (holder, name)
        for holder in _text_model(model).modules()
        for name in _STACKS
        if _is_stack(holder, name)
    ]
    if not stacks:
        raise NoReference("the model has no list of decoder layers to drop one from")
    holder, name = stacks[0]
    config = model.config.get_text_config()
    layers, counted = getattr(holder, name), config.num_hidden_layers
    dropped = int(depth * len(layers))
    setattr(holder, name, ModuleList(layer for n, layer in enumerate(layers) if n != dropped))
    if counted == len(layers):
        config.num_hidden_layers = counted - 1
    try:
        yield
    finally:
        setattr(holder, name, layers)
        config.num_hidden_layers = counted


def _text_model(model: PreTrainedModel) -> Module:
    """The decoder, so that no tower of pictures loses a layer instead; an encoder has none and is all text."""
    decoder = getattr(model, "get_decoder", lambda: None)()
    return model if decoder is None else decoder


def _is_stack(holder: Module, name: str) -> bool:
    from torch.nn import ModuleList

    found = getattr(holder, name, None)
    return isinstance(found, ModuleList) and len(found) > 1


@contextmanager
def _mixed_experts(model: PreTrainedModel) -> Iterator[None]:
    """Every router's rows moved by one: the control that a wrong order of merged experts would look like."""
    config = model.config.get_text_config()
    counts = {getattr(config, name, None) for name in EXPERTS} - {None}
    routers = [
        module
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in _ROUTERS and getattr(module, "weight", None) is not None
    ]
    found = [one for one in routers if one.weight.dim() == 2 and one.weight.shape[0] in counts]
    if not found or any(one.weight.is_meta for one in found):
        raise NoReference("no router of the model has its weights at hand")
    kept = [one.weight.data for one in found]
    for one in found:
        one.weight.data = one.weight.data.roll(1, 0)
    try:
        yield
    finally:
        for one, weight in zip(found, kept, strict=True):
            one.weight.data = weight


@contextmanager
def _fewer_experts(model: PreTrainedModel) -> Iterator[None]:
    """Every token goes to one expert less than it should."""
    found = [one for one in model.modules() if isinstance(getattr(one, "top_k", None), int) and one.top_k > 1]
    if not found:
        raise NoReference("no router of the model says how many experts it chooses")
    for one in found:
        one.top_k -= 1
    try:
        yield
    finally:
        for one in found:
            one.top_k += 1


@contextmanager
def _other_rope_base(model: PreTrainedModel) -> Iterator[None]:
    """Every rotary module built again by its own class, from its own config with another base."""
    replaced: list[tuple[Module, str, Module]] = []
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if hasattr(module, "config") and _is_rotary(module):
                config = copy.deepcopy(module.config)
                _change_bases(config)
                fresh = type(module)(config)
                if not _same_frequencies(module, fresh):
                    setattr(parent, name, fresh)
                    replaced.append((parent, name, module))
    if not replaced:
        raise NoReference("no rotary module of the model takes its base from the config")
    try:
        yield
    finally:
        for parent, name, module in replaced:
            setattr(parent, name, module)


def _is_rotary(module: Module) -> bool:
    return any(name.endswith("inv_freq") for name, _ in module.named_buffers(recurse=False))


def _same_frequencies(one: Module, other: Module) -> bool:
    ours, theirs = dict(one.named_buffers(recurse=False)), dict(other.named_buffers(recurse=False))
    return all(name in theirs and theirs[name].equal(values) for name, values in ours.items())


def _change_bases(place: PretrainedConfig | dict[str, object]) -> None:
    """Changes every base in a config object or in a dictionary of one, in place."""
    inner = place if isinstance(place, dict) else vars(place)
    for name, value in inner.items():
        if name in ROPE_BASES and isinstance(value, int | float):
            inner[name] = _OTHER_BASE if value == _USUAL_BASE else _USUAL_BASE
        elif isinstance(value, dict):
            _change_bases(value)
