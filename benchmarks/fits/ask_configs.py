"""Asks the vLLM of this Python whether it takes configs: `python ask_configs.py FOLDER... > outcomes.jsonl`.

Each folder holds a config.json and nothing else. What vLLM decides before it reads weights is all asked: class of the
config, architecture, quantization, dtype, parallel sizes. Runs without weightsmith.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", HF_HUB_OFFLINE="1")
# Faults of a folder that holds a config alone, or of this machine: no answer about the config.
_NO_ANSWER = (
    "image processor",
    "feature extractor",
    "failed to be inspected",
    "Can't load",
    "mc2 group is not initialized",  # the scheme is there, and wants cards that talk to each other
)
_LONGEST = 200


def main(folders: list[str]) -> None:
    os.environ["VLLM_PLUGINS"] = ""  # the engine alone
    from vllm.config import ParallelConfig
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda inspect: inspect()  # a process for each class would take seconds

    def answer(folder: str) -> dict[str, object]:
        config = EngineArgs(model=folder, skip_tokenizer_init=True, enforce_eager=True).create_model_config()
        parallel = ParallelConfig()
        config.verify_with_parallel_config(parallel)
        heads = {"kv_heads": config.get_num_kv_heads(parallel), "head_size": config.get_head_size()}
        return {"architecture": config.architecture, **heads}

    ask(folders, answer)


def ask(folders: list[str], answer: Callable[[str], dict[str, object]]) -> None:
    """Prints a line for each folder: what the engine says of it, or why it takes none."""
    for folder in folders:
        said: dict[str, object] = {"model": Path(folder).name.replace("--", "/", 1)}
        try:
            said |= {"loads": True, **answer(folder)}
        except Exception as error:  # whatever the engine raises is its answer
            text = f"{type(error).__name__}: {error}"
            said |= {"loads": None if _no_answer(text) else False, "error": _short(text, folder)}
        print(json.dumps(said, ensure_ascii=False), flush=True)
        gc.collect()


def _no_answer(text: str) -> bool:
    """Whether an exception is about the folder or the machine, and says nothing of the config."""
    return any(words in text for words in _NO_ANSWER)


def _short(text: str, folder: str) -> str:
    """An exception's words, without what differs from one machine to the next."""
    text = re.sub(r"^ValidationError: 1 validation error for ModelConfig\s+Value error, ", "", text)
    text = re.sub(r"\s*\[type=value_error.*", "", text, flags=re.DOTALL).replace("\n", " ")
    text = re.sub(r"dict_keys\(\[.*", "(…)", text).replace(str(Path(folder).resolve()), "(folder)")
    return text.replace(folder, "(folder)")[:_LONGEST]


if __name__ == "__main__":
    main(sys.argv[1:])
