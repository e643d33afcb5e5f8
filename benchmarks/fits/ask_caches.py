"""Starts the vLLM of this Python on small checkpoints: `python ask_caches.py CARDS FOLDER... > caches.jsonl`.

Prints of each how many blocks of KV cache 1 GiB became, and how many bytes of weights a card holds. CPU builds; more
than one card is more than one process. Runs without weightsmith.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

CONTEXT = 512
os.environ.update(
    VLLM_LOGGING_LEVEL="ERROR",
    HF_HUB_OFFLINE="1",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_ALLOW_INSECURE_SERIALIZATION="1",  # the function below is sent to the workers
)
if sys.argv[1] == "1":
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # one process for all of them
else:
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # by itself it wants a NUMA node for each


def _bytes_of_weights(worker: object) -> int:
    held = {}
    for _, parameter in worker.model_runner.model.named_parameters(remove_duplicate=False):  # type: ignore[attr-defined]
        storage = parameter.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
    return sum(held.values())


def main(cards: int, folders: list[str]) -> None:
    from vllm import LLM
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    for folder in folders:
        said: dict[str, object] = {"model": Path(folder).name, "cards": cards}
        engine = None
        try:
            engine = LLM(
                model=folder,
                skip_tokenizer_init=True,
                enforce_eager=True,
                max_model_len=CONTEXT,
                max_num_batched_tokens=CONTEXT,
                max_num_seqs=8,
                tensor_parallel_size=cards,
                enable_prefix_caching=False,
                generation_config="vllm",
            )
            cache = engine.llm_engine.vllm_config.cache_config
            said |= {"blocks": cache.num_gpu_blocks, "block": cache.block_size}
            said |= {"concurrency": getattr(cache, "kv_cache_max_concurrency", None)}  # since 0.26
            said |= {"weights": engine.collective_rpc(_bytes_of_weights)}
        except Exception as error:  # whatever the engine raises is its answer
            said["error"] = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(said), flush=True)
        del engine
        cleanup_dist_env_and_memory()
        gc.collect()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
