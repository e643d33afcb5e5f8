"""What the processor that runs the tests can do."""

from __future__ import annotations

from pathlib import Path

import pytest

CPUINFO = Path("/proc/cpuinfo")
AVX512 = CPUINFO.exists() and "avx512f" in CPUINFO.read_text(encoding="utf-8", errors="replace")

# vLLM's CPU build carries its kernel for int4 weights (`cpu_gemm_wna16`) in the library for AVX-512 alone (0.32.0): on
# another processor the engine loads such a model and ends with an AttributeError at its first token.
needs_int4_kernel = pytest.mark.skipif(not AVX512, reason="vLLM's int4 kernel for CPUs needs AVX-512")
