"""What transformers itself says the tensors on disk are: models built without data, on the meta device."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from weightsmith.process.signals import time_limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.shapes.page.expression import Value

Shapes = dict[str, tuple[int, ...]]
# In this order: the first mapping that has a type names the class that its checkpoints are usually saved from.
MAPPINGS = {
    "image-text": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
}
# One build of a small model takes 10-200 ms; what takes longer than this builds thousands of modules.
BUILD_SECONDS = 20.0


class Rejected(Exception):
    """The reference implementation refuses the config (or takes too long over it)."""


@dataclass(frozen=True, slots=True)
class Built:
    """shapes: what `save_pretrained` writes. copies: tensors left out because they repeat another one."""

    shapes: Shapes
    copies: Mapping[str, str]


def prepare() -> None:
    """One thread, no network, no chatter: called once per process before anything is built."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")
    warnings.simplefilter("ignore")
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    if all(importlib.util.find_spec(name) for name in ("timm", "torchvision")):
        _declare_vision_operators()


def _declare_vision_operators() -> None:
    """Lets torchvision be imported whose compiled operators do not load: one for CUDA, say, beside a torch for CPU.

    timm, which builds the vision towers of some types, imports it for its transforms of images. Its own import
    fails on those two operators alone, as it registers their shapes without asking whether they are there
    (torchvision 0.29, _meta_registrations.py). Models that are built without data call neither: declared is enough.
    """
    import torch

    try:
        importlib.import_module("torchvision")
    except Exception as error:  # whatever else ails it is for timm to say, where it is asked for
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        if "torchvision::nms does not exist" in str(error):
            operators = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                operators.define(f"{name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
            _declared.append(operators)


def version() -> str:
    import transformers

    return f"transformers {transformers.__version__}"


@cache
def mapping(kind: str) -> Mapping[str, str]:
    """Model type → class name, for one of MAPPINGS."""
    from transformers.models.auto import modeling_auto

    names = getattr(modeling_auto, MAPPINGS[kind])
    return {t: (c if isinstance(c, str) else c[0]) for t, c in names.items()}


# A declaration lives as long as the library object that made it.
_declared: list[Any] = []
# Classes that travel with a checkpoint: model type → (config class, model class).
_adopted: dict[str, tuple[Any, Any]] = {}
_AUTO_CLASSES = ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForMaskedLM", "AutoModel")


def adopt(model_type: str, folder: str, auto_map: Mapping[str, Any]) -> None:
    """Takes a type's classes from the Python files in `folder`. This runs them: only where the user asked for it.

    Raises Rejected when `auto_map` names no config class or no model class.
    """
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    named = next((auto_map[name] for name in _AUTO_CLASSES if name in auto_map), None)
    if named is None or "AutoConfig" not in auto_map:
        raise Rejected("auto_map names no config class or no language model")
    try:
        config = get_class_from_dynamic_module(auto_map["AutoConfig"], folder)
        _adopted[model_type] = config, get_class_from_dynamic_module(named, folder)
    except Exception as error:  # whatever the code does when it is imported
        raise Rejected(_words(error)) from error


def model_class(architecture: str) -> Any:
    import transformers

    own = (model for _, model in _adopted.values() if model.__name__ == architecture)
    return next(own, None) or getattr(transformers, architecture)


def ignored_on_load(architecture: str) -> list[str]:
    """Patterns of stored tensors that the class itself says it skips when it loads."""
    return list(model_class(architecture)._keys_to_ignore_on_load_unexpected or ())


@cache
def architectures(model_type: str) -> tuple[str, ...]:
    """Every language-model class of a type, the usual one first."""
    if model_type in _adopted:
        return (_adopted[model_type][1].__name__,)
    found = (mapping(kind).get(model_type) for kind in MAPPINGS)
    return tuple(dict.fromkeys(name for name in found if name))


@cache
def config_class(model_type: str) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type in _adopted:
        return _adopted[model_type][0]
    try:
        return CONFIG_MAPPING[model_type]
    except KeyError as error:
        raise Rejected(f"transformers has no config class for {model_type}") from error


def make_config(model_type: str, values: Mapping[str, Value]) -> Any:
    """A config object from dotted names. Raises Rejected with the reference's own words."""
    try:
        return config_class(model_type)(**nested(values))
    except Rejected:
        raise
    except Exception as error:  # whatever a validator raises
        raise Rejected(_words(error)) from error


def build(architecture: str, config: Any, seconds: float = BUILD_SECONDS) -> Built:
    """The tensors on disk of one model class with one config. Raises Rejected."""
    try:
        return _on_disk(model_on_meta(architecture, config, seconds))
    except Rejected:
        raise
    except Exception as error:
        raise Rejected(_words(error)) from error


def model_on_meta(architecture: str, config: Any, seconds: float = BUILD_SECONDS) -> Any:
    """A model without data. Raises Rejected."""
    import torch
    from transformers.initialization import no_init_weights

    try:
        cls = model_class(architecture)
        for name, inner in getattr(config, "sub_configs", {}).items():
            if cls.config_class is inner:  # a language model that is built from a part of the whole config
                config = getattr(config, name)
                break
        with time_limit(seconds), torch.device("meta"), no_init_weights():
            model = cls._from_config(config)
            check_kernels(model)
            return model
    except Rejected:
        raise
    except Exception as error:
        raise Rejected(_words(error)) from error


# The axes of a kernel: output and input channels, then those that it slides along.
_KERNEL_AXES = {"Conv1d": 3, "Conv2d": 4, "Conv3d": 5}


def check_kernels(model: Any) -> None:
    """A patch size with an item too many builds a convolution that no forward pass could run. Raises Rejected."""
    for module in model.modules():
        axes = _KERNEL_AXES.get(type(module).__name__)
        if axes is not None and module.weight.dim() != axes:
            raise Rejected(f"a {type(module).__name__} whose kernel has {module.weight.dim()} axes")


def check_parts(kept: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Of a stack of matrices with one row or column each, transformers writes vectors, which it cannot load again.

    Raises Rejected.
    """
    before = sum(t.numel() for name, t in kept.items() if name not in stored and t.dim() > 1)
    after = sum(t.numel() for name, t in stored.items() if name not in kept and t.dim() > 1)
    if after < before:
        raise Rejected("a stack of matrices that is written as vectors")


def _on_disk(model: Any) -> Built:
    from transformers.core_model_loading import revert_weight_conversion

    state = dict(model.state_dict())
    for name in model._keys_to_ignore_on_save or ():
        state.pop(name, None)
    tied = {k: v for k, v in model.all_tied_weights_keys.items() if k in state and v in state}
    owner: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = owner.setdefault(id(parameter), name)
        if first != name and name not in tied and first not in tied and name in state:
            tied[name] = first
    kept = {name: tensor for name, tensor in state.items() if name not in tied}
    stored = revert_weight_conversion(model, kept)
    check_parts(kept, stored)
    copies = {}
    for name, source in tied.items():
        pair = [list(revert_weight_conversion(model, {n: state[n]})) for n in (name, source)]
        if len(pair[0]) == len(pair[1]) == 1:
            copies[pair[0][0]] = pair[1][0]
    return Built({name: tuple(t.shape) for name, t in stored.items() if hasattr(t, "shape")}, copies)


def _words(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def nested(values: Mapping[str, Value]) -> dict[str, Any]:
    """{"text_config.hidden_size": 8} → {"text_config": {"hidden_size": 8}}."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        # A copy: settings inside it are added to the tree, not to the caller's dict.
        branch[last] = dict(value) if isinstance(value, dict) else value
    return tree


# Dicts that are not settings one by one: they stay whole.
_WHOLE = re.compile(r"rope|id2label|label2id|quantization|task_specific|per_layer_config|scaling")


def flatten(config: Any) -> dict[str, Value]:
    """Every field of a config object by its dotted name; sub-configs and small dicts of settings are opened."""
    return dict(_flat(config.to_dict(), config))


def _flat(data: Mapping[str, Value], config: Any, prefix: str = "") -> Iterator[tuple[str, Value]]:
    for name, value in data.items():
        inner = vars(config).get(name)
        if isinstance(value, dict) and hasattr(inner, "to_dict") and hasattr(inner, "model_type"):
            yield from _flat(value, inner, f"{prefix}{name}.")
        elif isinstance(value, dict) and value and not _WHOLE.search(name) and _settings(value):
            yield from ((f"{prefix}{name}.{key}", item) for key, item in value.items())
        else:
            yield prefix + name, value


def _settings(data: Mapping[Any, Value]) -> bool:
    """Values under names, one a whole number at least: {"embed_dim": 1024, "img_size": [448, 448]}."""
    named = all(isinstance(k, str) and k.isidentifier() and not isinstance(v, dict) for k, v in data.items())
    return named and any(isinstance(v, int) for v in data.values())
