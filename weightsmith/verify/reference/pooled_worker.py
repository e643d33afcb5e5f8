"""Run as a child: lets transformers make the vectors of the same tokens on the CPU, right and deliberately wrong."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.reference.controls import altered
from weightsmith.verify.reference.loading import Whole, load, need_native_class
from weightsmith.verify.reference.pooled_job import VECTORS, PooledReferenceAnswer, PooledReferenceJob
from weightsmith.verify.reference.worker import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage
    from weightsmith.verify.engine.pooled_job import Tokens
    from weightsmith.verify.inputs.kinds import Dtype
    from weightsmith.verify.inputs.pooling import Pooling
    from weightsmith.verify.reference.loading import Head
    from weightsmith.verify.reference.pooled_job import PooledVariation


def work(job: JsonObject, folder: Path, stage: Stage) -> dict[str, Json]:
    """The child's door: JSON in, JSON out."""
    return compute(PooledReferenceJob.from_json(job), folder, stage).to_json()


def compute(job: PooledReferenceJob, folder: Path, stage: Stage) -> PooledReferenceAnswer:
    """Every variation, in one file. A control that cannot be made of this model is left out, with the reason."""
    import torch
    import transformers
    from safetensors.torch import save_file

    head: Head = "vectors" if job.variations[0].how.task == "embed" else "logits"
    need_native_class(job.model, head)
    loaded: tuple[Dtype, PreTrainedModel] | None = None
    vectors: dict[str, Tensor] = {}
    impossible: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for variation in job.variations:
        name, dtype = variation.model.name, variation.model.dtype
        if loaded is None or loaded[0] != dtype:
            stage(f"loading the weights in {dtype}")
            loaded = None  # the old one goes before the new one comes: both need not fit
            loaded = dtype, _whole(job.model, dtype, head)
        stage(f"making vectors: {name} in {dtype}")
        began = time.perf_counter()
        try:
            with altered(loaded[1], variation.model):
                rows = [_vector(loaded[1], variation, one) for one in job.texts.values()]
        except Exception as error:  # any model may break on a control in its own way
            if name == "reference":
                raise
            impossible[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        vectors[f"{name}-{dtype}"] = torch.stack(rows)
        seconds[f"{name} {dtype}"] = time.perf_counter() - began
    save_file(vectors, folder / VECTORS)
    versions = {"transformers": transformers.__version__, "torch": str(torch.__version__)}
    return PooledReferenceAnswer(tuple(vectors), impossible, seconds, versions)


def _whole(model: str, dtype: Dtype, head: Head) -> PreTrainedModel:
    found = load(model, model, dtype, None, head)
    assert isinstance(found, Whole)
    return found.model


def _vector(model: PreTrainedModel, variation: PooledVariation, one: Tokens) -> Tensor:
    """The vector [width] of one text, or its logits [labels], in fp32."""
    import torch

    ids = torch.tensor([one.ids])
    arguments: dict[str, Tensor | bool] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "use_cache" in inspect.signature(model.forward).parameters:
        arguments["use_cache"] = False  # the place of a layer that is left out would be empty in it
    if one.types and variation.types:
        arguments["token_type_ids"] = torch.tensor([one.types])
    found = model(**arguments)
    if variation.how.task != "embed":
        return found.logits[0].float().contiguous()
    return _pooled(found.last_hidden_state[0].float(), variation.how)


def _pooled(states: Tensor, how: Pooling) -> Tensor:
    """One vector [width] of the states [tokens, width] of a text."""
    vector = states.mean(0) if how.pooling == "MEAN" else states[0 if how.pooling == "CLS" else -1]
    return vector / vector.norm() if how.normalised else vector.clone()


if __name__ == "__main__":
    serve(work, prepare)
