"""Run inside a matrix environment: a real vLLM answers the prompts it is given and writes down what it said.

    python engine_probe.py JOB.json OUT_FOLDER

Writes answers.json (tokens, settings, who served) and logprobs.safetensors: `p<n>` float32 [positions, vocabulary].
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    VLLM_NO_USAGE_STATS="1",
    VLLM_CPU_KVCACHE_SPACE="1",
    TORCHDYNAMO_DISABLE="1",
    OMP_WAIT_POLICY="PASSIVE",
)


def main(job_file: str, out: str) -> None:
    job = json.loads(Path(job_file).read_text())
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1" if job.get("processes") else "0"
    import numpy as np
    from safetensors.numpy import save_file
    from vllm import LLM, ModelRegistry, SamplingParams

    started = time.perf_counter()
    llm = LLM(
        job["model"],
        dtype=job["dtype"],
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=job["max_model_len"],
        max_num_seqs=job["max_num_seqs"],
        max_logprobs=-1,
        seed=0,
        disable_log_stats=False,
        **job.get("arguments", {}),
    )
    loaded = time.perf_counter()
    sampling = SamplingParams(temperature=0.0, max_tokens=job["max_tokens"], logprobs=-1, detokenize=False)
    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
    tokens, arrays = [], {}
    for n, output in enumerate(llm.generate(prompts, sampling, use_tqdm=False)):
        completion = output.outputs[0]
        tokens.append(list(completion.token_ids))
        arrays[f"p{n}"] = np.array(
            [[row[token].logprob for token in range(job["vocabulary"])] for row in completion.logprobs],
            dtype=np.float32,
        )
    config = llm.llm_engine.vllm_config
    answers = {
        "tokens": tokens,
        "served_by": ModelRegistry.models["HrmTextForCausalLM"].module_name,
        "chunked_prefill": bool(config.scheduler_config.enable_chunked_prefill),
        "prefix_caching": bool(config.cache_config.enable_prefix_caching),
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "scheduler": str(config.scheduler_config.scheduler_cls),
        "preemptions": sum(m.value for m in llm.get_metrics() if m.name == "vllm:num_preemptions"),
        "kv_blocks": config.cache_config.num_gpu_blocks,
        "config_class": type(config.model_config.hf_config).__module__,
        "seconds": {"load": loaded - started, "generate": time.perf_counter() - loaded},
    }
    folder = Path(out)
    save_file(arrays, folder / "logprobs.safetensors")
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
    sys.stdout.flush()
    os._exit(0)  # the engine's shutdown hooks have hung before; everything is written
