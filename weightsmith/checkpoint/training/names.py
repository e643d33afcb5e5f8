"""The names that training libraries give their files and folders; looked at before anything else is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.model_files import is_trainer_state

if TYPE_CHECKING:
    from collections.abc import Sequence

# verl (utils/checkpoint/fsdp_checkpoint_manager.py): world size, rank.
RANK_FILE = re.compile(r"model_world_size_([0-9]{1,6})_rank_([0-9]{1,6})\.pt")
RANK_STATE = re.compile(r"(optim|extra_state)_world_size_[0-9]+_rank_[0-9]+\.pt")
# DeepSpeed (runtime/engine.py, _get_zero_ckpt_name and _get_ckpt_name): data-parallel rank, model-parallel rank.
ZERO_OPTIMIZER = re.compile(
    r"(?:bf16_|fp16_)?zero_pp_rank_([0-9]{1,6})_mp_rank_([0-9]{2,6})_optim_states\.pt"
)
ZERO_MODEL = re.compile(r"(?:zero_pp_rank_([0-9]{1,6})_)?mp_rank_([0-9]{2,6})_model_states\.pt")
# Both name the last step's folder in a file of this name (DeepSpeed; Megatron).
LATEST, LATEST_ITERATION = "latest", "latest_checkpointed_iteration.txt"
# Megatron (training/checkpointing.py, get_checkpoint_name): tensor-, pipeline-, expert-parallel rank.
MODEL_PARALLEL = re.compile(r"mp_rank_([0-9]{2,6})(?:_([0-9]{3,6}))?(?:_([0-9]{3,6}))?")
MEGATRON_FILES = ("model_optim_rng.pt", "model_rng.pt")
# accelerate keeps the model apart from the optimizer (utils/constants.py, FSDP_MODEL_NAME).
ACCELERATE = re.compile(r"pytorch_model_fsdp(_[0-9]+)?")
# Weights that stand for themselves: a folder that has them is a model, whatever lies beside.
_WEIGHTS = (".safetensors", ".bin", ".gguf")
STEP = re.compile(r"iter_[0-9]+|release")
_OF_A_RUN = (RANK_FILE, ZERO_OPTIMIZER, MODEL_PARALLEL, ACCELERATE, STEP)


def may_be_run(names: Sequence[str]) -> bool:
    """Whether a folder with these names can be what the processes of a training run left."""
    if any(name.endswith(_WEIGHTS) and not is_trainer_state(name) for name in names):
        return False
    told = LATEST in names or LATEST_ITERATION in names
    return told or any(pattern.fullmatch(name) for name in names for pattern in _OF_A_RUN)
