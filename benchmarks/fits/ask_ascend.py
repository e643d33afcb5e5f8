"""Asks the real vllm_ascend whether it takes configs: `python ask_ascend.py FOLDER... > outcomes.jsonl`.

Each folder holds a config.json, and a quant_model_description.json where ModelSlim made the checkpoint. Where it holds
"layers": true in ask.json, the layers of the model are built as well, which is when a scheme is looked up. Needs no
NPU, but stand-ins for torch_npu: run it in the environment of `make test-vllm-matrix` (its `variables`). Runs without
weightsmith.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", HF_HUB_OFFLINE="1")
from ask_configs import ask


def main(folders: list[str]) -> None:
    _on_stand_ins()
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda inspect: inspect()  # a process for each class would take seconds

    def answer(folder: str) -> dict[str, object]:
        config = EngineArgs(model=folder, skip_tokenizer_init=True, enforce_eager=True).create_engine_config()
        said = {"architecture": config.model_config.architecture, "block": config.cache_config.block_size}
        return {**said, "layers": _layers(config)} if (Path(folder) / "ask.json").exists() else said

    ask(folders, answer)


def _on_stand_ins() -> None:
    """What torch_npu and the platform's plugin would have done on a machine that has an NPU."""
    import torch_npu  # noqa: F401 - the stand-in makes torch look like Ascend's
    from vllm.platforms import current_platform
    from vllm.plugins import load_general_plugins
    from vllm.utils import torch_utils

    register = torch_utils.direct_register_custom_op

    def for_the_cpu(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("dispatch_key") == "PrivateUse1":
            kwargs["dispatch_key"] = "CPU"
        register(*args, **kwargs)

    torch_utils.direct_register_custom_op = for_the_cpu
    type(current_platform).device_type = "cpu"
    load_general_plugins()
    from vllm_ascend.utils import adapt_patch

    adapt_patch(is_global_patch=True)
    import vllm_ascend.ops  # noqa: F401


def _layers(config: Any) -> int:
    """Builds the model without weights; how many modules have a scheme."""
    from vllm.config import set_current_vllm_config
    from vllm.distributed import parallel_state
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm_ascend.utils import register_ascend_customop

    with set_current_vllm_config(config):
        if not parallel_state.model_parallel_is_initialized():
            parallel_state.init_distributed_environment(1, 0, "tcp://127.0.0.1:0", 0, "gloo")
            parallel_state.ensure_model_parallel_initialized(1, 1)
        register_ascend_customop(config)
        model = initialize_model(vllm_config=config)
    return sum(1 for module in model.modules() if getattr(module, "quant_method", None) is not None)


if __name__ == "__main__":
    main(sys.argv[1:])
