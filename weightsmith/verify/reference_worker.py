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
from weightsmith.verify.reference_controls import NoReference, altered

if TYPE_CHECKING:
    from weightsmith.verify.child import Stage


def prepare() -> None:
    """The imports, seconds of them: this child starts while the engine still loads."""
    import torch
    import transformers.modeling_utils  # what every model class imports  # noqa: F401

    torch.set_grad_enabled(False)


def work(job: dict[str, Any], folder: Path, stage: Stage) -> dict[str, Any]:
    """Runs every variation of `job["variations"]`; each writes `<name>-<dtype>.safetensors` into the folder.

    Neighbours of equal dtype and weights share one loading of the model. A control that cannot be made of this
    model is told and left out; the right reference failing is the end.
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
                model, in_memory = _load(job["model"], weights, dtype), (weights, dtype)
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
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    model_type = json.loads((Path(model) / "config.json").read_text(encoding="utf-8-sig")).get("model_type")
    if model_type not in CONFIG_MAPPING or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise NoReference(f"transformers has no causal language model of type {model_type!r}")


def _load(model: str, weights: str, dtype: str) -> Any:
    """The model's config filled with the weights of a folder, on the CPU.

    Raises NoReference when the files do not fill it: random weights are no reference.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    if weights != model and hasattr(config, "quantization_config"):
        del config.quantization_config  # a packed model's source is not packed
    loaded, info = AutoModelForCausalLM.from_pretrained(
        weights,
        config=config,
        dtype=getattr(torch, dtype),
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    absent = sorted(map(str, info["missing_keys"]))
    if absent:
        raise NoReference(f"{len(absent)} tensors are not in the files, {absent[0]} first")
    return loaded.eval()


def _replay(
    model: Any, variation: dict[str, Any], answers: list[dict[str, Any]], path: Path, stage: Stage
) -> None:
    """Writes `p<n>.logprobs` float32 [positions, vocabulary] for each answer's own positions."""
    from safetensors.torch import save_file

    tensors = {}
    with altered(model, variation):
        for n, answer in enumerate(answers):
            stage(f"replaying the answers: {variation['name']} in {variation['dtype']}", n, len(answers))
            logprobs = _positions(model, variation["mask"], answer["ids"], answer["tokens"])
            tensors[f"p{answer['prompt']}.logprobs"] = logprobs
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


if __name__ == "__main__":
    serve(work, prepare)
