"""What transformers itself says the tensors on disk are: models built without data, on the meta device."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from weightsmith.process.signals import time_limit
from weightsmith.shapes.reference.config_fields import nested

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.reference.untyped import (
        ConfigClass,
        ConfigObject,
        MetaTensor,
        Model,
        ModelClass,
        WeightConversion,
    )

Shapes = dict[str, tuple[int, ...]]
# In this order: the first mapping that has a type names the class that its checkpoints are usually saved from.
MAPPINGS = {
    "image-text": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "speech": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "multimodal": "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
}
# Encoders of text and of images, and of text alone, that other models are built on: no mapping of language models has
# them.
ENCODERS = {
    "clip": ("CLIPModel",),
    "clip_text_model": ("CLIPTextModelWithProjection", "CLIPTextModel"),
    "siglip": ("SiglipModel",),
    "siglip2": ("Siglip2Model",),
}
# A build takes from 10 ms to a few seconds. This is a safety net for constructors that never end: nothing that is
# learned may depend on it.
BUILD_SECONDS = 300.0


class Rejected(Exception):
    """The reference implementation refuses the config, or gives no answer."""


class Unanswered(Rejected):
    """The build was given up. Whether the reference takes the config is unknown, and no refusal."""


class TimedOut(Unanswered):
    """The build ran into the safety net."""


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
    # Validators put what they refuse into their message before the next type of a union is tried: two thirds of the
    # time that a config of several parts takes, as a config's own text is what it differs in from the class defaults.
    transformers.PretrainedConfig.__repr__ = lambda config: f"{type(config).__name__}(…)"
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
    except Exception as error:  # an import runs foreign code; what else is wrong, timm says where it is used
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
_declared: list[object] = []
# Classes that travel with a checkpoint, and parts of models: model type → (config class, model class).
_adopted: dict[str, tuple[ConfigClass, ModelClass]] = {}
# How the tensors of a part are saved, where the whole decides it: model class → the conversions of the whole.
_saved_by: dict[ModelClass, Sequence[WeightConversion]] = {}
_AUTO_CLASSES = ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForMaskedLM", "AutoModel")


def adopt(model_type: str, folder: str, auto_map: JsonObject) -> None:
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
    except Exception as error:  # importing runs foreign code, which may raise anything
        raise Rejected(one_line(error)) from error


@contextmanager
def adopted_part(model_type: str, part: Model, conversions: Sequence[WeightConversion]) -> Iterator[None]:
    """In the block, a part of a model is a type of its own, which is saved as it is in the whole.

    model_type: a new name for it. conversions: those of the whole.
    """
    cls = type(part)
    _adopted[model_type] = type(part.config), cls
    _saved_by[cls] = conversions
    try:
        yield
    finally:
        del _adopted[model_type], _saved_by[cls]
        architectures.cache_clear()
        config_class.cache_clear()


def model_class(architecture: str) -> ModelClass:
    import transformers

    own = (model for _, model in _adopted.values() if model.__name__ == architecture)
    return next(own, None) or getattr(transformers, architecture)


def has_task_head(architecture: str, model_type: str) -> bool:
    """Whether a class of transformers puts the head of some task on this type's body."""
    import transformers

    cls = getattr(transformers, architecture, None) if "For" in architecture else None
    return getattr(cls, "config_class", None) is config_class(model_type)


def ignored_on_load(architecture: str) -> list[str]:
    """Patterns of stored tensors that the class itself says it skips when it loads."""
    return list(model_class(architecture)._keys_to_ignore_on_load_unexpected or ())


@cache
def architectures(model_type: str) -> tuple[str, ...]:
    """Every language-model class of a type, the usual one first."""
    if model_type in _adopted:
        return (_adopted[model_type][1].__name__,)
    found = (mapping(kind).get(model_type) for kind in MAPPINGS)
    return tuple(dict.fromkeys([*(name for name in found if name), *ENCODERS.get(model_type, ())]))


@cache
def config_class(model_type: str) -> ConfigClass:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type in _adopted:
        return _adopted[model_type][0]
    try:
        return CONFIG_MAPPING[model_type]
    except KeyError as error:
        raise Rejected(f"transformers has no config class for {model_type}") from error


def make_config(model_type: str, values: Mapping[str, Value | Json]) -> ConfigObject:
    """A config object from dotted names. Raises Rejected with the reference's own words."""
    try:
        return config_class(model_type)(**nested(values))
    except Rejected:
        raise
    except Exception as error:  # validators of config classes raise anything
        raise Rejected(one_line(error)) from error


def build(
    architecture: str, config: ConfigObject, seconds: float = BUILD_SECONDS, modules: int | None = None
) -> Built:
    """The tensors on disk of one model class with one config.

    seconds: a safety net. modules: of how many the model may consist; None for any number. Raises Rejected:
    Unanswered beyond either, TimedOut for the seconds.
    """
    try:
        return _on_disk(model_on_meta(architecture, config, seconds, modules))
    except Rejected:
        raise
    except Exception as error:  # renaming and splitting tensors on a config's sizes raises anything
        raise Rejected(one_line(error)) from error


def model_on_meta(
    architecture: str, config: ConfigObject, seconds: float = BUILD_SECONDS, modules: int | None = None
) -> Model:
    """A model without data. seconds, modules: as for `build`. Raises Rejected."""
    import torch
    from transformers.initialization import no_init_weights

    try:
        cls = model_class(architecture)
        for name, inner in getattr(config, "sub_configs", {}).items():
            if cls.config_class is inner:  # a language model that is built from a part of the whole config
                config = getattr(config, name)
                break
        with time_limit(seconds), _module_limit(modules), torch.device("meta"), no_init_weights():
            model = cls._from_config(config)
            check_kernels(model)
            if cls in _saved_by:
                model._weight_conversions = _saved_by[cls]
            return model
    except Rejected:
        raise
    except TimeoutError as error:
        raise TimedOut(one_line(error)) from error
    except Exception as error:  # constructors of models raise anything on a config that they cannot use
        raise Rejected(one_line(error)) from error


@contextmanager
def _module_limit(modules: int | None) -> Iterator[None]:
    """Ends the block with Unanswered as soon as more than so many modules have been put into others."""
    if modules is None:
        yield
        return
    from torch.nn.modules.module import register_module_module_registration_hook

    count = 0

    def counted(owner: object, name: str, module: object) -> None:
        nonlocal count
        count += 1
        if count > modules:
            raise Unanswered(f"more than {modules} modules")

    handle = register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


# The axes of a kernel: output and input channels, then those that it slides along.
_KERNEL_AXES = {"Conv1d": 3, "Conv2d": 4, "Conv3d": 5}


def check_kernels(model: Model) -> None:
    """A patch size with an item too many builds a convolution that no forward pass could run. Raises Rejected."""
    for module in model.modules():
        axes = _KERNEL_AXES.get(type(module).__name__)
        if axes is not None and module.weight.dim() != axes:
            raise Rejected(f"a {type(module).__name__} whose kernel has {module.weight.dim()} axes")


def check_parts(kept: Mapping[str, MetaTensor], stored: Mapping[str, MetaTensor]) -> None:
    """Of a stack of matrices with one row or column each, transformers writes vectors, which it cannot load again.

    Raises Rejected.
    """
    before = sum(t.numel() for name, t in kept.items() if name not in stored and t.dim() > 1)
    after = sum(t.numel() for name, t in stored.items() if name not in kept and t.dim() > 1)
    if after < before:
        raise Rejected("a stack of matrices that is written as vectors")


def _on_disk(model: Model) -> Built:
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


def one_line(error: BaseException) -> str:
    """What an error says, for people: one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
