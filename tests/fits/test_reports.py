"""The cache of two models on a 910B, as two engineers' logs from vLLM 0.18 have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import weightsmith
from tests.fits.checkpoints import llama, llama_config, write

if TYPE_CHECKING:
    from pathlib import Path

_GIB = 1 << 30


def test_bitcpm4_1b_holds_as_many_tokens_as_its_log_says(tmp_path: Path) -> None:
    shape = (28, 2048, 6144, 16, 2, 73448)
    folder = write(tmp_path / "model", llama_config(*shape), llama(*shape))
    answer = weightsmith.fits(folder, on="vllm-ascend==0.18.0", kv_memory=int(48.62 * _GIB), context=8192)
    assert answer.memory.kv_bytes_per_token == 28_672
    # The log rounds the memory to 0.01 GiB, which is 374 tokens: three blocks of 128.
    assert answer.memory.kv_tokens is not None
    assert abs(answer.memory.kv_tokens - 1_820_800) <= 3 * 128
    assert answer.verdict == "fits"


def test_mem_agent_holds_as_many_tokens_as_its_log_says(tmp_path: Path) -> None:
    config = {
        **llama_config(36, 2560, 9728, 32, 8, 151936),
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "head_dim": 128,
    }
    shapes = llama(36, 2560, 9728, 32, 8, 151936)
    for layer in range(36):
        before = f"model.layers.{layer}.self_attn."
        shapes |= {before + f"{one}_norm.weight": (128,) for one in "qk"}
        shapes |= {before + "q_proj.weight": (4096, 2560), before + "o_proj.weight": (2560, 4096)}
        shapes |= {before + f"{one}_proj.weight": (1024, 2560) for one in "kv"}
    folder = write(tmp_path / "model", config, shapes)
    answer = weightsmith.fits(folder, on="vllm-ascend==0.18.0", kv_memory=int(46.77 * _GIB), context=4096)
    assert answer.memory.kv_bytes_per_token == 147_456
    assert answer.memory.kv_tokens is not None
    assert abs(answer.memory.kv_tokens - 340_480) <= 128
    assert answer.verdict == "fits"


def test_what_is_free_is_told_within_a_percent_of_both_logs(tmp_path: Path) -> None:
    """0.85 and 0.9 of a 910B, less the weights and the margin."""
    shape = (28, 2048, 6144, 16, 2, 73448)
    folder = write(tmp_path / "model", llama_config(*shape), llama(*shape))
    answer = weightsmith.fits(
        folder, on="vllm-ascend==0.18.0", context=8192, arguments=["--gpu-memory-utilization", "0.85"]
    )
    assert answer.memory.kv_memory is not None
    assert abs(answer.memory.kv_memory / _GIB - 48.62) < 0.5
