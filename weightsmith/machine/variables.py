"""The environment variables that the stack reads, and those that look like one of them and that nothing reads."""

from __future__ import annotations

import difflib
import re

from weightsmith import determinism, visible_devices

READ = (
    visible_devices.ASCEND,
    "ASCEND_VISIBLE_DEVICES",  # of the container runtime, with ids of the host
    "ASCEND_TOOLKIT_HOME",
    "ASCEND_HOME_PATH",
    "ASCEND_OPP_PATH",
    "ASCEND_AICPU_PATH",
    "ATB_HOME_PATH",
    "HCCL_IF_BASE_PORT",
    "HCCL_HOST_SOCKET_PORT_RANGE",
    "HCCL_NPU_SOCKET_PORT_RANGE",
    "TORCH_DEVICE_BACKEND_AUTOLOAD",
    "VLLM_PLUGINS",
    "VLLM_VERSION",
    *determinism.ENVIRONMENT,
)
# Other variables of this shell that decide how the stack runs.
_MORE = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "CONDA_PREFIX", "VIRTUAL_ENV", "SOC_VERSION")
_FAMILIES = re.compile(r"(?:ASC\w*|ATB|HCCL|LCCL|NPU|PYTORCH_NPU|TORCH|VLLM|CANN)_\w+")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
# Reports tell people to set these; no released code reads them.
_NEVER_READ = {"NPU_VISIBLE_DEVICES", "VLLM_ASCEND_RT_DEVICES"}
# A slip of one or two letters in a long name.
_ALIKE = 0.9
_LONGEST = 40


def is_of_the_stack(name: str) -> bool:
    """Whether a variable may tell something about the NPU's stack, and is no secret."""
    if _SECRET.search(name):
        return False
    return name in READ or name in _MORE or bool(_FAMILIES.fullmatch(name)) or misspelt(name) is not None


def misspelt(name: str) -> str | None:
    """The variable that was meant by one that nothing reads; None for any other."""
    if name in READ or len(name) > _LONGEST:
        return None
    if name in _NEVER_READ:
        return visible_devices.ASCEND
    close = difflib.get_close_matches(name, READ, 1, _ALIKE)
    return close[0] if close else None
