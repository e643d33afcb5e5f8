"""An engine's log, read for what its loading took: real lines of vLLM 0.32 on a CPU, of 0.18 and of vllm-ascend."""

from __future__ import annotations

from weightsmith.verify.engine import startup
from weightsmith.verify.engine.startup import Startup

_ON_A_CPU = """
(Worker pid=579) INFO 11-27 08:16:40 [base_loader.py:82] Initializing model took 0.199830 seconds
(Worker pid=579) INFO 11-27 08:16:40 [default_loader.py:501] Loading weights took 0.02 seconds
(Worker pid=579) INFO 11-27 08:16:42 [cpu_worker.py:260] Explicitly set (1.0/23.54) GiB for KV cache on node 0.
(EngineCore pid=373) INFO 11-27 08:16:42 [kv_cache_utils.py:2327] CPU KV cache size: 1,048,576 tokens, Maximum ...
(EngineCore pid=373) INFO 11-27 08:16:43 [core.py:402] init engine (profile, create kv cache, warmup model) took 1.14 s
"""
_ON_AN_NPU = """
(Worker_TP0 pid=1) INFO [default_loader.py:291] Loading weights took 1.12 seconds
(Worker_TP1 pid=2) INFO [default_loader.py:291] Loading weights took 1.15 seconds
(Worker_TP0 pid=1) INFO [model_runner_v1.py:2389] Loading model weights took 3.0375 GB
(Worker_TP0 pid=1) INFO [monitor.py:34] torch.compile took 15.03 s in total
(Worker_TP0 pid=1) INFO [worker.py:279] Available KV cache memory: 48.62 GiB
(EngineCore_DP0 pid=3) INFO [kv_cache_utils.py:1307] GPU KV cache size: 1,820,800 tokens
(Worker_TP0 pid=1) INFO [gpu_model_runner.py:4587] Graph capturing finished in 2 secs, took 0.10 GiB
(EngineCore_DP0 pid=3) INFO [core.py:259] init engine (profile, create kv cache, warmup model) took 20.53 seconds
"""


def test_a_log_tells_what_the_loading_took() -> None:
    assert startup.read(_ON_A_CPU) == Startup(weights_s=0.02, warm_up_s=1.14, kv_gib=1.0, kv_tokens=1048576.0)
    assert startup.read(_ON_AN_NPU) == Startup(
        weights_s=1.15,
        compile_s=15.03,
        graphs_s=2.0,
        warm_up_s=20.53,
        weights_gib=3.0375,
        kv_gib=48.62,
        kv_tokens=1820800.0,
    )


def test_the_compilation_may_stand_beside_the_warm_up() -> None:
    line = "init engine (profile, create kv cache, warmup model) took 8.20 s (compilation: 5.10 s)"
    assert startup.read(line) == Startup(compile_s=5.1, warm_up_s=8.2)


def test_a_log_that_says_nothing_gives_no_figures() -> None:
    assert startup.read("Loading weights took a while\n") == Startup()
