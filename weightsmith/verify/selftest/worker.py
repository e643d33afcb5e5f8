"""Run as a child: completes prompts with the tiny self-test model, and probes an NPU's operators before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.engine.read_back import read_back
from weightsmith.verify.selftest.selftest_job import LOGPROBS, SelfTestAnswer, SelfTestJob

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vllm import LLM

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage


def work(job: JsonObject, folder: Path, stage: Stage) -> dict[str, Json]:
    """The child's door: JSON in, JSON out."""
    return run_model(SelfTestJob.from_json(job), folder, stage).to_json()


def run_model(job: SelfTestJob, folder: Path, stage: Stage) -> SelfTestAnswer:
    """Probes the operators (on an NPU), then runs the model; log-probabilities go into a file of the folder."""
    operators: Mapping[str, float] = {}
    if job.device == "npu":
        stage("asking the attention operators")
        from weightsmith.verify.selftest.operators import probe_operators

        operators = probe_operators()
    stage("importing vLLM")
    from vllm import ModelRegistry

    stage("loading the self-test model")
    llm = _load(job)
    stage("answering")
    tokens = _complete(llm, job, folder)
    served_by = str(ModelRegistry.models["HrmTextForCausalLM"].module_name)
    return SelfTestAnswer(operators, tokens, served_by, read_back(llm))


def _load(job: SelfTestJob) -> LLM:
    from vllm import LLM

    arguments: dict[str, float | int] = {} if job.device == "cpu" else {"gpu_memory_utilization": 0.3}
    if job.device == "npu":
        arguments["block_size"] = 128
    return LLM(
        job.model,
        dtype="bfloat16",
        skip_tokenizer_init=True,
        enforce_eager=job.eager,
        max_model_len=512,
        max_num_seqs=4,
        max_logprobs=-1,
        seed=0,
        disable_log_stats=False,
        # vLLM's own class has to be told; the adapter enforces it itself.
        enable_prefix_caching=False,
        enable_chunked_prefill=False,
        max_num_batched_tokens=2048,
        **arguments,
    )


def _complete(llm: LLM, job: SelfTestJob, folder: Path) -> tuple[tuple[int, ...], ...]:
    """Greedy completions; the log-probabilities of their positions are written down."""
    import numpy as np
    from safetensors.numpy import save_file
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0.0, max_tokens=job.max_tokens, logprobs=-1, detokenize=False)
    requests = [{"prompt_token_ids": list(ids)} for ids in job.prompts]
    completions = [output.outputs[0] for output in llm.generate(requests, sampling, use_tqdm=False)]
    tables = [
        [[row[token].logprob for token in range(job.vocabulary)] for row in completion.logprobs]
        for completion in completions
    ]
    rows = {f"p{n}": np.array(table, dtype=np.float32) for n, table in enumerate(tables)}
    save_file(rows, folder / LOGPROBS)
    return tuple(tuple(completion.token_ids) for completion in completions)


if __name__ == "__main__":
    serve(work)
