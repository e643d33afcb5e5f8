"""The environment variables that hide devices from a process, and how their values are read."""

from __future__ import annotations

ASCEND = "ASCEND_RT_VISIBLE_DEVICES"
CUDA = "CUDA_VISIBLE_DEVICES"


def listed(value: str) -> tuple[str, ...]:
    """The device ids in the value of such a variable, `"0, 3"` → `("0", "3")`; no ids in an empty one."""
    return tuple(part.strip() for part in value.split(",") if part.strip())
