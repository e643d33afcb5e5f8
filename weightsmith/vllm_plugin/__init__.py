"""The HRM-Text adapter's front door: what vLLM calls in every one of its processes, whatever model it serves.

Nothing heavy is imported here: vLLM loads general plugins before it knows its model, and most are not ours.
"""

from __future__ import annotations


def register() -> None:
    """Entry point of the group `vllm.general_plugins`. May be called any number of times."""
    from weightsmith.vllm_plugin.registration import register as registered_once

    registered_once()
