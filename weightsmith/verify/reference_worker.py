"""Run as a child: lets transformers replay the engine's own answers on the CPU, right and deliberately wrong.

Teacher forcing: one forward pass over prompt and answer gives what the reference would have said at every
position of the engine's trajectory, so that a first divergence does not spoil the rest.
"""

from __future__ import annotations

import inspect
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsmith.verify.child import serve

if TYPE_CHECKING:
    from collections.abc import Callable


class NoReference(Exception):
    """transformers cannot be the reference of this model, and why."""


def work(job: dict[str, Any], folder: Path, stage: Callable[[str], None]) -> dict[str, Any]:
    """Runs every variation of `job["variations"]`; each writes `<name>-<dtype>.safetensors` into the folder.

    Variations of one dtype share one loading of the model; they arrive sorted by dtype, wrong ones last. A control
    that cannot be made of this model is told and left out; the right reference failing is the end.
    """
    stage("importing transformers")
    import torch
    import transformers

    torch.set_grad_enabled(False)
    _need_native_class(job["model"])
    seconds: dict[str, float] = {}
    done: list[dict[str, Any]] = []
    impossible: dict[str, str] = {}
    loaded: tuple[str, Any] | None = None
    for variation in job["variations"]:
        name, dtype = variation["name"], variation["dtype"]
        if loaded is None or loaded[0] != dtype:
            loaded = None  # the old one goes before the new one comes: the two need not fit together
            stage(f"loading the reference in {dtype}")
            started = time.perf_counter()
            loaded = dtype, _load(job["model"], dtype)
            seconds[f"load {dtype}"] = time.perf_counter() - started
        stage(f"replaying the answers: {name} in {dtype}")
        started = time.perf_counter()
        file = f"{name}-{dtype}.safetensors"
        try:
            _replay(loaded[1], variation, job["answers"], folder / file)
        except Exception as error:
            if name == "reference":
                raise
            impossible[name] = f"{type(error).__name__}: {error}"
            continue
        seconds[f"{name} {dtype}"] = time.perf_counter() - started
        done.append({"name": name, "dtype": dtype, "file": file})
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return {"done": done, "impossible": impossible, "seconds": seconds, "versions": versions}


def _need_native_class(model: str) -> None:
    """Raises NoReference where transformers has no class of its own: code beside the weights is never run."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    model_type = json.loads((Path(model) / "config.json").read_text(encoding="utf-8-sig")).get("model_type")
    if model_type not in CONFIG_MAPPING or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise NoReference(f"transformers has no causal language model of type {model_type!r}")


def _load(model: str, dtype: str) -> Any:
    """The model on the CPU. Raises NoReference when the files do not fill it: random weights are no reference."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded, info = AutoModelForCausalLM.from_pretrained(
        model,
        dtype=getattr(torch, dtype),
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    absent = sorted(map(str, info["missing_keys"]))
    if absent:
        raise NoReference(f"{len(absent)} tensors are not in the files, {absent[0]} first")
    return loaded.eval()


def _replay(model: Any, variation: dict[str, Any], answers: list[dict[str, Any]], path: Path) -> None:
    """Writes `p<n>.logprobs` float32 [positions, vocabulary] for each answer's own positions."""
    from safetensors.torch import save_file

    if variation["skip_layer"] is not None:
        _skip_layer(model, variation["skip_layer"])
    tensors = {
        f"p{answer['prompt']}.logprobs": _positions(model, variation["mask"], answer["ids"], answer["tokens"])
        for answer in answers
    }
    save_file(tensors, path)


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


def _skip_layer(model: Any, depth: float) -> None:
    """Takes one decoder layer out, in place: the control that a broken weight loader would look like.

    Of several stacks (HRM-Text has two) the first gives one. Raises NoReference when no list has two layers.
    """
    from torch.nn import ModuleList

    stacks = [getattr(module, "layers", None) for module in model.get_decoder().modules()]
    layers = next((s for s in stacks if isinstance(s, ModuleList) and len(s) > 1), None)
    if layers is None:
        raise NoReference("the model has no list of decoder layers to drop one from")
    if model.config.num_hidden_layers == len(layers):
        model.config.num_hidden_layers -= 1
    del layers[int(depth * len(layers))]


if __name__ == "__main__":
    serve(work)
