"""Run as a child: lets transformers replay the engine's own answers on the CPU, right and deliberately wrong.

Teacher forcing: one forward pass over prompt and answer gives what the reference would have said at every
position of the engine's trajectory, so that a first divergence does not spoil the rest.
"""

from __future__ import annotations

import inspect
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsmith.process.serving import serve
from weightsmith.verify.reference.controls import NoReference, altered
from weightsmith.verify.reference.layers import on_disk, placement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weightsmith.process.child import Stage
    from weightsmith.verify.reference.layers import OnDisk


def prepare() -> None:
    """The imports, seconds of them: this child starts while the engine still loads."""
    import torch
    import transformers.modeling_utils  # what every model class imports  # noqa: F401

    torch.set_grad_enabled(False)


def work(job: dict[str, Any], folder: Path, stage: Stage) -> dict[str, Any]:
    """Runs every variation of `job["variations"]`; each writes `<name>-<dtype>.safetensors` into the folder.

    Those in a dtype of `job["layer_by_layer"]` run with one layer's weights in memory at a time. Neighbours of equal
    dtype and weights share one loading of the model. A control that cannot be made of this model is told and left
    out; the right reference failing is the end.
    """
    import torch
    import transformers

    _need_native_class(job["model"])
    seconds: dict[str, float] = {}
    done: list[dict[str, Any]] = []
    impossible: dict[str, str] = {}
    model: Any = None
    in_memory: tuple[str, str] | None = None
    for variation in job["variations"]:
        name, dtype, weights = variation["name"], variation["dtype"], variation["weights"] or job["model"]
        file = f"{name}-{dtype}.safetensors"
        try:
            if in_memory != (weights, dtype):
                model = in_memory = None  # the old one goes before the new one comes: both need not fit
                stage(f"loading the weights for {name} in {dtype}")
                started = time.perf_counter()
                offload = folder / f"{name}-{dtype}" if dtype in job["layer_by_layer"] else None
                model, in_memory = _load(job["model"], weights, dtype, offload), (weights, dtype)
                seconds[f"load {name} {dtype}"] = time.perf_counter() - started
            started = time.perf_counter()
            _replay(model, variation, job["answers"], folder / file, stage)
        except Exception as error:
            if name == "reference":
                raise
            impossible[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        seconds[f"{name} {dtype}"] = time.perf_counter() - started
        done.append({"name": name, "dtype": dtype, "file": file})
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return {"done": done, "impossible": impossible, "seconds": seconds, "versions": versions}


def _need_native_class(model: str) -> None:
    """Raises NoReference where transformers has no class of its own: code beside the weights is never run."""
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    model_type = json.loads((Path(model) / "config.json").read_text(encoding="utf-8-sig")).get("model_type")
    if model_type not in CONFIG_MAPPING or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise NoReference(f"transformers {__version__} has no causal language model of type {model_type!r}")


@dataclass(frozen=True, slots=True)
class _Whole:
    """A model in memory."""

    model: Any

    def outputs(self, passes: Sequence[Callable[[], Any]], tell: Callable[[int, int], None]) -> list[Any]:
        """What the forward passes return, in their order. tell: told how many are done, of how many."""
        found: list[Any] = []
        for one in passes:
            tell(len(found), len(passes))
            found.append(one())
        return found


def _load(model: str, weights: str, dtype: str, offload: Path | None) -> _Whole | OnDisk:
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
    places: dict[str, Any] = {}
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
    loaded: _Whole | OnDisk,
    variation: dict[str, Any],
    answers: list[dict[str, Any]],
    path: Path,
    stage: Stage,
) -> None:
    """Writes `p<n>.logprobs` float32 [positions, vocabulary] for each answer's own positions."""
    from safetensors.torch import save_file

    how = "" if isinstance(loaded, _Whole) else ", layer by layer"
    tell = partial(stage, f"replaying the answers{how}: {variation['name']} in {variation['dtype']}")
    model, mask = loaded.model, variation["mask"]
    passes = [partial(_positions, model, mask, answer["ids"], answer["tokens"]) for answer in answers]
    with altered(model, variation):
        found = loaded.outputs(passes, tell)
    save_file({f"p{a['prompt']}.logprobs": one for a, one in zip(answers, found, strict=True)}, path)


def _positions(model: Any, mask: str, prompt: list[int], answer: list[int]) -> Any:
    """Log-probabilities [len(answer), vocabulary] of what follows prompt + answer[:t], for t = 0, 1, …"""
    import torch

    ids = torch.tensor([[*prompt, *answer[:-1]]])
    arguments: dict[str, Any] = {"use_cache": False}
    if mask == "prefix":
        # 1 over the prompt is what makes HRM-Text's reference bidirectional there; without it, it is silently causal.
        arguments["token_type_ids"] = (torch.arange(ids.shape[1]) < len(prompt)).long()[None]
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        arguments["logits_to_keep"] = len(answer)
    logits = model(input_ids=ids, **arguments).logits[0, -len(answer) :]
    return torch.log_softmax(logits.float(), dim=-1).contiguous()


if __name__ == "__main__":
    serve(work, prepare)
