"""What this machine's processor can do, as its flags say."""

from __future__ import annotations

from pathlib import Path


def adds_bytes_in_32_bits() -> bool:
    """Whether products of bytes are added exactly (VNNI, AMX). Elsewhere pairs of them saturate in 16 bits."""
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    return "vnni" in flags or "amx_int8" in flags
