"""In the reference's child: what transformers itself makes of packed weights, beside what the plain view makes of them.

Two codes that were written apart seldom have the same fault. A sample of each parameter is kept of the one model until
the other is there, so that the two need not fit the memory together.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.verify.reference.loading import config_of, unpacks
from weightsmith.verify.reference.replay_job import Difference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module
    from transformers import PretrainedConfig

# Of each parameter so many runs of neighbours, spread evenly from its first number to its last: neighbours show a wrong
# order of channels, and the spread a wrong row or group.
_RUNS, _RUN = 256, 256
# Two roundings to bf16 of the number itself, and of four times the usual one: a sum that has been rounded in between.
_TOLERANCE = 2.0**-7
# Of the differing parameters, how many are named.
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Opinion:
    """What transformers makes of a folder. samples: by parameter, float32. silent: why there are none."""

    samples: Mapping[str, Tensor]
    silent: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """compared: parameters. kept: parameters that transformers does not unpack. differing: the first few, `differ` in
    all.
    """

    compared: int
    kept: int
    differ: int
    differing: tuple[Difference, ...]


def opinion_of_transformers(model: str) -> Opinion:
    """Loads a folder with transformers' own quantizer, whole and in bf16, and keeps a sample of it."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    config = config_of(model)
    name = f"transformers {transformers.__version__}"
    if not unpacks(config):
        return Opinion({}, f"{name} does not unpack them")
    _ask_for_plain_weights(config)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            model, config=config, dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # a quantizer may lack its package or a GPU, and says so in its own way
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Opinion({}, f"{name} could not unpack them ({reason})")
    return Opinion(samples(loaded))


def samples(model: Module) -> dict[str, Tensor]:
    """A sample of every matrix of a model, float32, by the parameter's name; what is no float is left out."""
    matrices = {name: one for name, one in model.named_parameters() if one.dim() > 1}
    return {name: _sample(one.detach()) for name, one in matrices.items() if one.dtype.itemsize > 1}


def compare(opinion: Opinion, model: Module) -> Comparison:
    """Transformers' sample against that of a model which was filled through the plain view."""
    ours = samples(model)
    both = [
        name for name in ours if name in opinion.samples and opinion.samples[name].shape == ours[name].shape
    ]
    found = (_difference(name, ours[name], opinion.samples[name]) for name in both)
    differing = [one for one in found if one is not None]
    return Comparison(len(both), len(ours) - len(both), len(differing), tuple(differing[:_NAMED]))


def _sample(matrix: Tensor) -> Tensor:
    import torch

    flat = matrix.reshape(-1)
    if len(flat) > _RUNS * _RUN:
        starts = torch.linspace(0, len(flat) - _RUN, _RUNS, dtype=torch.float64).long()
        flat = flat[(starts[:, None] + torch.arange(_RUN)).reshape(-1)]
    return flat.float().clone()


def _difference(name: str, ours: Tensor, theirs: Tensor) -> Difference | None:
    usual = ours.square().mean().sqrt()
    distance = (ours - theirs).abs()
    # Written so that NaN differs.
    wrong = ~(distance <= _TOLERANCE * (ours.abs() + 4 * usual) / 2)
    if not wrong.any():
        return None
    first = int(wrong.int().argmax())
    return Difference(name, float(wrong.float().mean()), float(ours[first]), float(theirs[first]))


def _ask_for_plain_weights(config: PretrainedConfig) -> None:
    """Some quantizers leave weights packed unless they are asked, in words that depend on their version."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    stated = dict(config.quantization_config)
    kind = AUTO_QUANTIZATION_CONFIG_MAPPING.get(str(stated.get("quant_method")))
    known = inspect.signature(kind).parameters if kind is not None else {}
    if "dequantize" in known:
        stated["dequantize"] = True
    elif "run_compressed" in known:
        stated["run_compressed"] = False
    config.quantization_config = stated
