"""Whether vLLM runs on Ascend NPUs here, and on which kind. Nothing here starts a device."""

from __future__ import annotations


def on_ascend() -> bool:
    """True on vllm-ascend's platform, told by the platform's class."""
    from vllm.platforms import current_platform

    return type(current_platform).__module__.startswith("vllm_ascend")


def on_310p() -> bool:
    """True on the Ascend 310P."""
    if not on_ascend():
        return False
    from vllm_ascend.utils import is_310p

    return bool(is_310p())
