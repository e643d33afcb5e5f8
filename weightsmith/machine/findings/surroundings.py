"""The Python that runs this, the container, the user, and the variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith import determinism
from weightsmith.machine.diagnosis import Finding
from weightsmith.machine.facts import small_number
from weightsmith.machine.findings.layers import numbers
from weightsmith.machine.variables import misspelt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from weightsmith.machine.facts import Facts

_GIB = 1 << 30
# HCCL's base port, and how many it binds from there on (16 before CANN 8.2).
_BASE_PORT, _PORTS, _PORTS_BEFORE = 60000, 32, 16


def interpreter(facts: Facts) -> Finding:
    """Whether the packages lie in another Python than this one."""
    here = facts.python
    if {"torch-npu", "vllm-ascend"} & here.packages.keys() or not facts.others:
        return Finding("interpreter", "ok", f"Python {here.version} in {here.prefix}")
    other = facts.others[0]
    names = " and ".join(
        f"{name} {other.packages[name]}" for name in ("vllm-ascend", "torch-npu") if name in other.packages
    )
    found = f"weightsmith runs in the Python environment {here.prefix}, and {other.prefix} holds {names}"
    command = f"{other.executable} -m pip install --no-deps weightsmith"
    fix = f"{command}, and run it from there: {other.executable} -m weightsmith doctor"
    return Finding("interpreter", "fail", found, other.prefix, fix)


def shared_memory(facts: Facts) -> Finding:
    size = facts.container.shared_memory
    if not facts.chips or not size:
        return Finding("shared memory", "absent", "no NPU here")
    if size >= _GIB:
        return Finding("shared memory", "ok", f"/dev/shm has {size / _GIB:.0f} GiB")
    found = f"/dev/shm has {size >> 20} MB (docker gives 64): processes of several chips talk through it"
    fix = "docker run --shm-size=16g, or --ipc=host; Kubernetes: an emptyDir of medium Memory at /dev/shm"
    return Finding("shared memory", "warn", found, "1 GiB or more", fix)


def ports(facts: Facts) -> Finding:
    """HCCL binds ports on this host when it works with several chips."""
    if len(facts.chips) < 2:
        return Finding("hccl ports", "absent", "fewer than two chips")
    if facts.environment.get("HCCL_HOST_SOCKET_PORT_RANGE"):
        return Finding("hccl ports", "ok", "HCCL_HOST_SOCKET_PORT_RANGE is set")
    base = small_number(facts.environment.get("HCCL_IF_BASE_PORT", "")) or _BASE_PORT
    kit = facts.sourced
    count = _PORTS_BEFORE if kit and kit.version and numbers(kit.version) < (8, 2) else _PORTS
    listening = set(facts.container.listening)
    taken = [port for port in range(base, base + count) if port in listening]
    wanted = f"{base} to {base + count - 1} free"
    if not taken:
        return Finding("hccl ports", "ok", wanted, wanted)
    found = f"port {', '.join(map(str, taken))} is bound by another process, and HCCL uses {base} to {base + count - 1}"
    starts = (*range(base + 100, 65000, 100), *range(20000, 65000, 100))
    free = next((one for one in starts if not _any_in(listening, one, count)), "<a free one>")
    fix = f"export HCCL_IF_BASE_PORT={free}, or HCCL_HOST_SOCKET_PORT_RANGE=auto"
    return Finding("hccl ports", "warn", found, wanted, fix)


def _any_in(ports: Collection[int], base: int, count: int) -> bool:
    return any(port in ports for port in range(base, base + count))


def account(facts: Facts) -> Finding:
    if facts.user.account:
        return Finding("account", "ok", f"uid {facts.user.uid}")
    if not facts.is_meant_for_npu:
        return Finding("account", "absent", f"uid {facts.user.uid} has no line in /etc/passwd")
    uid, group = facts.user.uid, facts.user.groups[0] if facts.user.groups else facts.user.uid
    found = f"uid {uid} has no line in /etc/passwd: getpwuid fails, and HCCL with it on several chips"
    fix = f"in the image: useradd -u {uid} npu; or, as root: echo npu:x:{uid}:{group}::/tmp:/bin/sh >> /etc/passwd"
    return Finding("account", "warn", found, "a line in /etc/passwd", fix)


def variables(facts: Facts) -> Finding:
    """Variables that nothing reads, because they are spelt otherwise than the one that was meant."""
    wrong = {name: meant for name in facts.environment if (meant := misspelt(name)) is not None}
    wrong = {name: meant for name, meant in wrong.items() if name.upper() == name}
    if not wrong:
        return Finding("variables", "ok", "none that nothing reads")
    found = ", ".join(f"{name}={facts.environment[name]}" for name in wrong)
    verb = "which nothing reads" if len(wrong) == 1 else "and nothing reads them"
    exports = dict.fromkeys(f"export {meant}={facts.environment[name]}" for name, meant in wrong.items())
    meant = ", ".join(dict.fromkeys(wrong.values()))
    return Finding("variables", "warn", f"{found}, {verb}", meant, "; ".join(exports))


def adapter(facts: Facts) -> Finding:
    """HRM-Text needs the adapter in every process of vLLM, and vLLM leaves a plugin out without a message."""
    allowed = facts.environment.get("VLLM_PLUGINS")
    names = facts.plugins.get("vllm.general_plugins", ())
    if "vllm" not in facts.probes:
        return Finding("hrm-text adapter", "absent", "vLLM is not installed")
    if "weightsmith" not in names:
        fix = "pip install --no-deps weightsmith, so that its entry points are written"
        return Finding(
            "hrm-text adapter", "warn", "no entry point in vllm.general_plugins", "weightsmith", fix
        )
    if allowed is not None and "weightsmith" not in re.split(r"\s*,\s*", allowed.strip()):
        fix = (
            f"export VLLM_PLUGINS={','.join([*filter(None, allowed.split(',')), 'weightsmith'])}, or unset it"
        )
        found = f"VLLM_PLUGINS={allowed} leaves it out"
        return Finding("hrm-text adapter", "warn", found, "weightsmith", fix, ("platform",))
    return Finding("hrm-text adapter", "ok", "registered with vLLM", "weightsmith")


def deterministic(facts: Facts) -> Iterator[Finding]:
    """Variables that make an NPU repeat itself; of interest only where there is one."""
    if not facts.chips:
        return
    wanted = determinism.ENVIRONMENT
    others = {name: value for name, value in wanted.items() if facts.environment.get(name) != value}
    expected = "all, while results are compared"
    if not others:
        yield Finding("determinism", "ok", "all variables set", expected)
        return
    fix = "export " + " ".join(f"{name}={value}" for name, value in others.items())
    yield Finding(
        "determinism", "warn", f"{len(wanted) - len(others)} of {len(wanted)} variables set", expected, fix
    )
