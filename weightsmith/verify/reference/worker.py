"""Run as a child: lets transformers replay the engine's own completions on the CPU, right and deliberately wrong.

Teacher forcing: one forward pass over prompt and completion gives the reference's distribution at every
position of the engine's trajectory, so that a first divergence does not spoil the rest.
"""

from __future__ import annotations

import inspect
import json
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.inputs.pictures import other, processed, processor_of
from weightsmith.verify.reference.controls import NoReference, altered
from weightsmith.verify.reference.loading import Whole, head_of, load, need_native_class
from weightsmith.verify.reference.replay_job import (
    UNPACKING,
    ReferenceAnswer,
    ReferenceJob,
    Replayed,
    ReplayFile,
    of_variation,
)
from weightsmith.verify.reference.rounding import rounded_inputs
from weightsmith.verify.reference.unpacking import PackedModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, ProcessorMixin

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage
    from weightsmith.verify.inputs.kinds import Dtype, Variation
    from weightsmith.verify.reference.layers import OnDisk


def prepare() -> None:
    """The imports, seconds of them: this child starts while the engine still loads."""
    import torch
    import transformers.modeling_utils  # what every model class imports  # noqa: F401

    torch.set_grad_enabled(False)


def work(job: JsonObject, folder: Path, stage: Stage) -> dict[str, Json]:
    """The child's door: JSON in, JSON out."""
    return replay(ReferenceJob.from_json(job), folder, stage).to_json()


def replay(job: ReferenceJob, folder: Path, stage: Stage) -> ReferenceAnswer:
    """Runs every variation; each writes `<name>-<dtype>.safetensors` into the folder.

    Neighbours of equal dtype and weights share one loading of the model. A control that cannot be made of this
    model is left out, with the reason; the right reference failing is the end.
    """
    import torch
    import transformers

    need_native_class(job.model, head_of(job.model))
    models = _Models(job, folder, stage)
    done: list[ReplayFile] = []
    impossible: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for variation in job.variations:
        name, dtype = variation.name, variation.dtype
        file = f"{name}-{dtype}.safetensors"
        try:
            models.load(variation, seconds)
            started = time.perf_counter()
            _replay(models, variation, job.completions, folder / file, stage)
        except (
            Exception
        ) as error:  # any model may break on a control in its own way, and says so in the report
            if name == "reference":
                raise
            impossible[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        seconds[f"{name} {dtype}"] = time.perf_counter() - started
        done.append(ReplayFile(name, dtype, file))
    versions = {"transformers": transformers.__version__, "torch": str(torch.__version__)}
    return ReferenceAnswer(tuple(done), impossible, seconds, versions)


class _Models:
    """The one model that is in memory, `loaded`. packed: what is known of it where its checkpoint is packed."""

    def __init__(self, job: ReferenceJob, folder: Path, stage: Stage) -> None:
        self._job, self._folder, self._stage = job, folder, stage
        self._source: tuple[str, Dtype] | None = None
        self.loaded: Whole | OnDisk | None = None
        self.packed = PackedModel.of(job.model, job.no_second_opinion)
        self._head = head_of(job.model)
        self.processor = processor_of(job.model) if any(one.picture for one in job.completions) else None

    def load(self, variation: Variation, seconds: dict[str, float]) -> None:
        """Loads a variation's model where another one is in memory, and notes how long it took."""
        name, dtype, weights = variation.name, variation.dtype, variation.weights or self._job.model
        if self._source == (weights, dtype):
            return
        self.loaded = self._source = None  # the old one goes before the new one comes: both need not fit
        offload = self._folder / f"{name}-{dtype}" if dtype in self._job.layer_by_layer else None
        first = self.packed is not None and name == "reference" and offload is None
        if self.packed is not None and first:
            self._stage("asking transformers what the packed weights are")
            self.packed.ask()
        self._stage(f"loading the weights for {name} in {dtype}")
        started = time.perf_counter()
        self.loaded, self._source = (
            load(self._job.model, weights, dtype, offload, self._head),
            (weights, dtype),
        )
        seconds[f"load {name} {dtype}"] = time.perf_counter() - started
        if self.packed is not None and first:
            self.packed.compare(self.loaded.model)


def _replay(
    models: _Models, variation: Variation, completions: Sequence[Replayed], path: Path, stage: Stage
) -> None:
    """Writes `p<n>.logprobs` float32 [positions, vocabulary] for each completion's own positions.

    bf16's reference of a packed model rounds activations, too, where the engine does so by design.
    """
    from safetensors.torch import save_file

    loaded, packed = models.loaded, models.packed
    assert loaded is not None
    how = "" if isinstance(loaded, Whole) else ", layer by layer"
    tell = partial(stage, f"replaying the answers{how}: {variation.name} in {variation.dtype}")
    replayed = of_variation(variation, completions)
    passes = [partial(_positions, loaded.model, models.processor, variation, one) for one in replayed]
    rounding: AbstractContextManager[None] = nullcontext()
    metadata = None
    if packed is not None and variation.name == "reference":
        metadata = {UNPACKING: json.dumps(packed.unpacking(loaded.model).to_json())}
        if variation.dtype != "float32":
            rounding = rounded_inputs(loaded.model, packed.rounded, packed.found.checkpoint)
    with rounding, altered(loaded.model, variation):
        found = loaded.outputs(passes, tell)
    rows = {f"p{c.prompt}.logprobs": one for c, one in zip(replayed, found, strict=True)}
    save_file(rows, path, metadata=metadata)


def _positions(
    model: PreTrainedModel, processor: ProcessorMixin | None, variation: Variation, one: Replayed
) -> Tensor:
    """Log-probabilities [len(tokens), vocabulary] of what follows ids + tokens[:t], for t = 0, 1, …"""
    import torch

    ids = torch.tensor([[*one.ids, *one.tokens[:-1]]])
    arguments: dict[str, bool | int | Tensor] = {"use_cache": False}
    if variation.mask == "prefix":
        # 1 over the prompt is what makes HRM-Text's reference bidirectional there; without it, it is silently causal.
        arguments["token_type_ids"] = (torch.arange(ids.shape[1]) < len(one.ids)).long()[None]
    if one.picture is not None and processor is not None:
        arguments |= _picture(processor, variation, one, model.dtype)
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        arguments["logits_to_keep"] = len(one.tokens)
    logits = model(input_ids=ids, **arguments).logits[0, -len(one.tokens) :]
    return torch.log_softmax(logits.float(), dim=-1).contiguous()


def _picture(
    processor: ProcessorMixin, variation: Variation, one: Replayed, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The picture as the model takes it, and what the processor says of each token; the answer's are text."""
    from torch.nn.functional import pad

    assert one.picture is not None
    shown = replace(one.picture, name=other(one.picture.name)) if variation.other_picture else one.picture
    made = processed(processor, shown)
    ids = made.pop("input_ids")
    if tuple(ids[0].tolist()) != one.ids:
        raise NoReference("the processor makes other tokens of the same picture here")
    more = len(one.tokens) - 1
    return {
        name: pad(value, (0, more), value=int(name == "attention_mask"))
        if value.shape == ids.shape
        else value.to(dtype)
        if value.is_floating_point()
        else value
        for name, value in made.items()
    }


if __name__ == "__main__":
    serve(work, prepare)
