"""How much memory may still be taken."""

from __future__ import annotations

import os
from pathlib import Path


def free_memory(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that may still be taken: the machine's MemAvailable or what a container's limit leaves, the lesser."""
    amounts = [_available(proc), _container_left(cgroup)]
    known = [amount for amount in amounts if amount is not None]
    return min(known) if known else None


def _available(proc: Path) -> int | None:
    try:
        lines = proc.read_text(encoding="ascii").splitlines()
    except OSError:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    rows = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(rows[0][1]) * 1024 if rows else None


def _container_left(cgroup: Path) -> int | None:
    """Limit less use of the cgroup-v2 that we are in; inactive page cache is given back."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = (cgroup / "memory.current").read_text(encoding="ascii").strip()
        stat = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    if limit == "max":
        return None
    reclaimable = sum(int(line.split()[1]) for line in stat if line.startswith("inactive_file "))
    return max(0, int(limit) - int(used) + reclaimable)
