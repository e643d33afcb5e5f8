"""What the model's own files hold in a DeepSpeed ZeRO checkpoint: shapes in order, frozen weights, buffers."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from weightsmith.checkpoint.layout import shape_fault
from weightsmith.checkpoint.names import check_name, quoted
from weightsmith.checkpoint.torch_objects import TensorRef
from weightsmith.checkpoint.training.zero_vectors import cut, refuse, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.rank_file import RankFile
    from weightsmith.checkpoint.training.zero_vectors import Shapes


def shapes_of_groups(file: RankFile) -> list[Shapes]:
    """Name -> shape in the order of the flat vectors, for each group of parameters."""
    groups = file.content.get("param_shapes")
    if not isinstance(groups, list) or not groups:
        refuse(file.subject, "does not say which parameters the flat weights hold")
    return [_shapes(file, group) for group in groups]


def _shapes(file: RankFile, group: object) -> Shapes:
    if not isinstance(group, dict):
        refuse(file.subject, "describes a group of parameters by something other than names and shapes")
    for name, shape in group.items():
        check_name(file.subject, name)
        fault = shape_fault(shape)
        if fault:
            refuse(file.subject, f"describes {quoted(name)} wrongly: {fault}")
    return {name: tuple(shape) for name, shape in group.items()}


def with_the_rest(model: RankFile, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of the module, in its order: shared ones, and what ZeRO itself leaves to the module.

    DeepSpeed lists frozen parameters in stages 2 and 3 only (runtime/engine.py, `save_frozen_param`): in stage 1 they
    are in the module's own state alone, and its zero_to_fp32.py loses them.
    """
    found = dict(tensors)
    for alias, name in model.section("shared_params").items():
        if isinstance(name, str) and name in found:
            check_name(model.subject, alias)
            found[alias] = replace(found[name], name=alias)
    module = model.section("module")
    for name, ref in module.items():
        if name not in found and isinstance(ref, TensorRef):
            check_name(model.subject, name)
            found[name] = model.tensor(name, ref)
            if not found[name].elements:
                refuse(model.subject, f"names {quoted(name)}, whose values are in none of the files")
    order = {name: number for number, name in enumerate(module)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def frozen_weights(models: Sequence[RankFile], third: bool) -> dict[str, Tensor]:
    """Parameters that were not trained: whole in stages 1 and 2, in equal shares in stage 3."""
    found = models[0].content.get("frozen_param_shapes")
    shapes = _shapes(models[0], found) if isinstance(found, dict) else {}
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        parts = []
        for file in models:
            ref = file.section("frozen_param_fragments").get(name)
            if not isinstance(ref, TensorRef):
                refuse(file.subject, f"does not hold the frozen parameter {quoted(name)}")
            parts.append(file.tensor(name, ref))
        if not third and parts[0].shape == shape:
            tensors[name] = parts[0]
        elif all(len(part.shape) == 1 for part in parts):
            tensors[name] = whole(models[0].subject, name, shape, cut(parts, 0, prod(shape)))
        else:
            refuse(
                models[0].subject,
                f"holds the frozen parameter {quoted(name)} in another shape than it states",
            )
    return tensors


def buffers(model: RankFile) -> dict[str, Tensor]:
    """The module's buffers that are saved, in their own dtype. Raises what `RankFile.tensor` raises."""
    module, names = model.section("module"), model.content.get("buffer_names")
    listed = names if isinstance(names, (list, tuple)) else ()
    found = {name: module.get(name) for name in listed if isinstance(name, str)}
    for name in found:
        check_name(model.subject, name)
    return {name: model.tensor(name, ref) for name, ref in found.items() if isinstance(ref, TensorRef)}


def is_wider(model: RankFile, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the model computed in another dtype than the weights have here."""
    module = model.section("module")
    return any(
        isinstance(ref, TensorRef) and ref.dtype in ("bfloat16", "float16") and tensors[name].dtype == "F32"
        for name, ref in module.items()
        if name in tensors
    )
