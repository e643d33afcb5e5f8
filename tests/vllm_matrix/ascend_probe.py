"""Run inside a matrix environment: the adapter on the real vllm_ascend, in every situation that its runner knows.

    python ascend_probe.py JOB.json OUT_FOLDER

Writes facts.json and logprobs.safetensors: `<situation>.p<n>` float32 [positions, vocabulary].
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from ascend_model import AscendModel, Sequence


def answer(model: AscendModel, job: dict[str, Any], arrays: dict[str, Any], name: str) -> list[list[int]]:
    """All prompts in three waves: prompts alone, prompts joining decodes, then decodes alone."""
    everyone = model.sequences(job["prompts"])
    third = len(everyone) // 3
    model.step(everyone[:third])
    model.step(everyone[: 2 * third])
    model.step(everyone)
    while running := [
        s for s in everyone if s.answer[-1] != job["end"] and len(s.answer) < job["max_tokens"]
    ]:
        model.step(running)
    for n, sequence in enumerate(everyone):
        if job["end"] in sequence.answer:  # a wave may have carried it past its end
            del sequence.answer[sequence.answer.index(job["end"]) + 1 :]
        arrays[f"{name}.p{n}"] = torch.stack(sequence.rows[: len(sequence.answer)])
    return [s.answer for s in everyone]


def refused(action: Any) -> str:
    """The class of the error that `action` ends in; empty if it does not."""
    try:
        action()
    except (RuntimeError, ValueError) as error:
        return type(error).__name__
    return ""


def captured_decode(model: AscendModel, prompts: list[list[int]], arrays: dict[str, Any]) -> dict[str, Any]:
    """A decode step as full-graph capture runs it: what its operator is told, and what comes out."""
    import torch_npu
    from vllm_ascend.compilation.acl_graph import set_graph_params

    set_graph_params([len(prompts)])
    graph = model.sequences(prompts)
    model.step(graph)
    torch_npu.calls.clear()
    model.step(graph, capturing=True)
    out = [a for name, a in torch_npu.calls if name.endswith(".out")]
    for n, sequence in enumerate(graph):
        arrays[f"graph.p{n}"] = torch.stack(sequence.rows)
    return {
        "calls": len(out),
        "sparse_modes": sorted({a["sparse_mode"] for a in out}),
        "masked": all(a["atten_mask"] is not None for a in out),
        "layouts": sorted({a["input_layout"] for a in out}),
        "prefill": refused(lambda: model.step(model.sequences(prompts), capturing=True)),
    }


def partial_prompts(model: AscendModel, prompt: list[int]) -> dict[str, str]:
    cached = model.sequences([prompt])
    cached[0].computed = 5
    # The first chunk looks like a shorter prompt; the second one cannot.
    chunked = model.sequences([prompt])
    model.step(chunked, take=7)
    chunked[0].answer.clear()
    mixed: list[Sequence] = model.sequences([prompt, prompt])
    model.step(mixed[:1])
    mixed[1].computed = 3
    return {
        "second chunk": refused(lambda: model.step(chunked)),
        "cache hit": refused(lambda: model.step(cached)),
        "cache hit beside a decode": refused(lambda: model.step(mixed)),
    }


def without_ours(thing: Any) -> type[Any]:
    """The package's own class under ours."""
    kind = type(thing)
    return kind.__mro__[1] if kind.__name__.startswith("PrefixLM") else kind


def main(job_file: str, out: str) -> None:
    job = json.loads(Path(job_file).read_text())
    started = time.perf_counter()
    model = AscendModel(job["model"], job["max_model_len"], len(job["prompts"]))
    import torch_npu
    from safetensors.torch import save_file
    from vllm.platforms import current_platform

    from weightsmith.verify.selftest.operators import probe_operators
    from weightsmith.vllm_plugin.ascend_attention import honours_causal

    arrays: dict[str, Any] = {}
    facts: dict[str, Any] = {"seconds": {"load": time.perf_counter() - started}}
    facts["platform"] = type(current_platform).__name__
    facts["backend"] = [c.__module__ + "." + c.__name__ for c in model.backend.__mro__[:2]]
    facts["block_size"] = model.config.cache_config.block_size
    facts["chunked_prefill"] = bool(model.config.scheduler_config.enable_chunked_prefill)
    facts["prefix_caching"] = bool(model.config.cache_config.enable_prefix_caching)
    facts["scheduler"] = str(model.config.scheduler_config.scheduler_cls)
    first = next(iter(model.layers.values()))
    facts["stock_honours_causal"] = honours_causal(without_ours(first.impl))
    torch_npu.calls.clear()
    facts["tokens"] = answer(model, job, arrays, "adapter")
    facts["calls"] = [
        [*key, count]
        for key, count in Counter(
            (name, a.get("sparse_mode"), a.get("atten_mask") is not None, a.get("block_table") is not None)
            for name, a in torch_npu.calls
        ).items()
    ]
    facts["partial"] = partial_prompts(model, job["prompts"][0])
    facts["graph"] = captured_decode(model, job["prompts"][:4], arrays)
    facts["operators"] = probe_operators("cpu")
    for layer in model.layers.values():
        layer.impl.__class__ = without_ours(layer.impl)
    answer(model, job, arrays, "stock implementation")
    model.builder.__class__ = without_ours(model.builder)
    answer(model, job, arrays, "stock")
    facts["seconds"]["all"] = time.perf_counter() - started
    save_file(arrays, Path(out) / "logprobs.safetensors")
    (Path(out) / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
    sys.stdout.flush()
    os._exit(0)
