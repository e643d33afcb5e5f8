"""Starts the vLLM of this Python on small checkpoints: `python ask_caches.py [options] FOLDER... > caches.jsonl`.

Prints of each how many blocks of KV cache 1 GiB became, and how many bytes of weights a card holds. CPU builds; more
than one card is more than one process, and so is more than one stage. Runs without weightsmith.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
from pathlib import Path

CONTEXT = 512
os.environ.update(
    VLLM_LOGGING_LEVEL="ERROR",
    HF_HUB_OFFLINE="1",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_ALLOW_INSECURE_SERIALIZATION="1",  # the function below is sent to the workers
)


def _bytes_of_weights(worker: object) -> int:
    held = {}
    for _, parameter in worker.model_runner.model.named_parameters(remove_duplicate=False):  # type: ignore[attr-defined]
        storage = parameter.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
    return sum(held.values())


def main(given: argparse.Namespace) -> None:
    if given.cards * given.stages == 1:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # one process for all of them
    else:
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # by itself it wants a NUMA node for each
    from vllm import LLM
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    for folder in given.folders:
        said: dict[str, object] = {"model": Path(folder).name, "cards": given.cards, **_beside(given)}
        engine = None
        try:
            engine = LLM(
                model=folder,
                skip_tokenizer_init=True,
                enforce_eager=True,
                max_model_len=CONTEXT,
                max_num_batched_tokens=CONTEXT,
                max_num_seqs=8,
                tensor_parallel_size=given.cards,
                pipeline_parallel_size=given.stages,
                enable_expert_parallel=given.expert_parallel,
                enable_prefix_caching=given.prefix_caching,
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


def _beside(given: argparse.Namespace) -> dict[str, object]:
    """What was asked for beside one stage of cards that have a share of each expert, and no prefix caching."""
    usual = {"stages": 1, "expert_parallel": False, "prefix_caching": False}
    return {name: value for name, value in vars(given).items() if name in usual and value != usual[name]}


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cards", type=int, default=1)
    options.add_argument("--stages", type=int, default=1)
    options.add_argument("--expert-parallel", action="store_true")
    options.add_argument("--prefix-caching", action="store_true")
    options.add_argument("folders", nargs="+")
    main(options.parse_args())
