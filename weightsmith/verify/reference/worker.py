"""Run as a child: lets transformers replay the engine's own completions on the CPU, right and deliberately wrong.

Teacher forcing: one forward pass over prompt and completion gives the reference's distribution at every
position of the engine's trajectory, so that a first divergence does not spoil the rest.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.reference.controls import NoReference, altered
from weightsmith.verify.reference.layers import on_disk, placement
from weightsmith.verify.reference.replay_job import ReferenceAnswer, ReferenceJob, Replayed, ReplayFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage
    from weightsmith.verify.inputs.kinds import Dtype, Mask, Variation
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

    _need_native_class(job.model)
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
            _replay(models.loaded, variation, job.completions, folder / file, stage)
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
    """The one model that is in memory, `loaded`."""

    def __init__(self, job: ReferenceJob, folder: Path, stage: Stage) -> None:
        self._job, self._folder, self._stage = job, folder, stage
        self._source: tuple[str, Dtype] | None = None
        self.loaded: _Whole | OnDisk | None = None

    def load(self, variation: Variation, seconds: dict[str, float]) -> None:
        """Loads a variation's model where another one is in memory, and notes how long it took."""
        name, dtype, weights = variation.name, variation.dtype, variation.weights or self._job.model
        if self._source == (weights, dtype):
            return
        self.loaded = self._source = None  # the old one goes before the new one comes: both need not fit
        self._stage(f"loading the weights for {name} in {dtype}")
        started = time.perf_counter()
        offload = self._folder / f"{name}-{dtype}" if dtype in self._job.layer_by_layer else None
        self.loaded, self._source = _load(self._job.model, weights, dtype, offload), (weights, dtype)
        seconds[f"load {name} {dtype}"] = time.perf_counter() - started


def _need_native_class(model: str) -> None:
    """Raises NoReference where transformers has no class of its own: code beside the weights is never run."""
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from weightsmith.checkpoint import read_json_object

    model_type = read_json_object(Path(model) / "config.json").get("model_type")
    if model_type not in CONFIG_MAPPING or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise NoReference(f"transformers {__version__} has no causal language model of type {model_type!r}")


@dataclass(frozen=True, slots=True)
class _Whole:
    """A model in memory."""

    model: PreTrainedModel

    def outputs(
        self, passes: Sequence[Callable[[], Tensor]], tell: Callable[[int, int], None]
    ) -> list[Tensor]:
        """What the forward passes return, in their order. tell: told how many are done, of how many."""
        found: list[Tensor] = []
        for one in passes:
            tell(len(found), len(passes))
            found.append(one())
        return found


def _load(model: str, weights: str, dtype: Dtype, offload: Path | None) -> _Whole | OnDisk:
    """The model's config filled with the weights of a folder, on the CPU.

    offload: a folder for weights that do not lie in the checkpoint as the model holds them (merged experts, a
    `.bin`); with it only what lies above the layers is loaded, by accelerate. None loads the whole model.
    Raises NoReference when the files do not fill it: random weights are no reference.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    if weights != model and hasattr(config, "quantization_config"):
        del config.quantization_config  # a packed model's source is not packed
    places: dict[str, str | dict[str, str]] = {}
    empty = None
    if offload is not None:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config)
        places = {"device_map": placement(empty), "offload_folder": str(offload)}
    loaded, info = AutoModelForCausalLM.from_pretrained(
        weights,
        config=config,
        dtype=getattr(torch, dtype),
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **places,
    )
    absent = sorted(map(str, info["missing_keys"]))
    if absent:
        raise NoReference(f"{len(absent)} tensors are not in the files, {absent[0]} first")
    return _Whole(loaded.eval()) if empty is None else on_disk(loaded.eval(), empty)


def _replay(
    loaded: _Whole | OnDisk | None,
    variation: Variation,
    completions: Sequence[Replayed],
    path: Path,
    stage: Stage,
) -> None:
    """Writes `p<n>.logprobs` float32 [positions, vocabulary] for each completion's own positions."""
    from safetensors.torch import save_file

    assert loaded is not None
    how = "" if isinstance(loaded, _Whole) else ", layer by layer"
    tell = partial(stage, f"replaying the answers{how}: {variation.name} in {variation.dtype}")
    passes = [partial(_positions, loaded.model, variation.mask, one) for one in completions]
    with altered(loaded.model, variation):
        found = loaded.outputs(passes, tell)
    save_file({f"p{c.prompt}.logprobs": rows for c, rows in zip(completions, found, strict=True)}, path)


def _positions(model: PreTrainedModel, mask: Mask, one: Replayed) -> Tensor:
    """Log-probabilities [len(tokens), vocabulary] of what follows ids + tokens[:t], for t = 0, 1, …"""
    import torch

    ids = torch.tensor([[*one.ids, *one.tokens[:-1]]])
    arguments: dict[str, bool | int | Tensor] = {"use_cache": False}
    if mask == "prefix":
        # 1 over the prompt is what makes HRM-Text's reference bidirectional there; without it, it is silently causal.
        arguments["token_type_ids"] = (torch.arange(ids.shape[1]) < len(one.ids)).long()[None]
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        arguments["logits_to_keep"] = len(one.tokens)
    logits = model(input_ids=ids, **arguments).logits[0, -len(one.tokens) :]
    return torch.log_softmax(logits.float(), dim=-1).contiguous()


if __name__ == "__main__":
    serve(work, prepare)
