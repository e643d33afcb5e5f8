"""Run as a child: lets the engine answer with the tiny self-test model, and asks an NPU's operators before it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from weightsmith.process.serving import serve
from weightsmith.verify.engine.read_back import read_back

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.process.child import Stage


def work(job: dict[str, Any], folder: Path, stage: Stage) -> dict[str, Any]:
    """`operators`: question → error (on an NPU); `tokens`, `settings`, `served_by`; rows go to engine.safetensors."""
    operators: dict[str, float] = {}
    if job["device"] == "npu":
        stage("asking the attention operators")
        from weightsmith.verify.selftest.operators import probe_operators

        operators = probe_operators()
    stage("importing vLLM")
    import numpy as np
    from safetensors.numpy import save_file
    from vllm import LLM, ModelRegistry, SamplingParams

    stage("loading the self-test model")
    arguments: dict[str, Any] = {} if job["device"] == "cpu" else {"gpu_memory_utilization": 0.3}
    if job["device"] == "npu":
        arguments["block_size"] = 128
    llm = LLM(
        job["model"],
        dtype="bfloat16",
        skip_tokenizer_init=True,
        enforce_eager=job["eager"],
        max_model_len=512,
        max_num_seqs=4,
        max_logprobs=-1,
        seed=0,
        disable_log_stats=False,
        # What vLLM's own class needs said; the adapter enforces it itself.
        enable_prefix_caching=False,
        enable_chunked_prefill=False,
        max_num_batched_tokens=2048,
        **arguments,
    )
    stage("answering")
    sampling = SamplingParams(temperature=0.0, max_tokens=job["max_tokens"], logprobs=-1, detokenize=False)
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in job["prompts"]], sampling, use_tqdm=False)
    tokens, rows = [], {}
    for n, output in enumerate(outputs):
        said = output.outputs[0]
        tokens.append(list(said.token_ids))
        table = [[row[t].logprob for t in range(job["vocabulary"])] for row in said.logprobs]
        rows[f"p{n}"] = np.array(table, dtype=np.float32)
    save_file(rows, folder / "engine.safetensors")
    entry = ModelRegistry.models["HrmTextForCausalLM"]
    return {
        "operators": operators,
        "tokens": tokens,
        "served_by": entry.module_name,
        "settings": read_back(llm),
    }


if __name__ == "__main__":
    serve(work)
    sys.stdout.flush()
    os._exit(0)
