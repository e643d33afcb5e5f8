"""What a user can do where the files of a training run do not fit together."""

DAMAGED = "the checkpoint is damaged, or of several steps; copy it again from the training run"
TOOLS = "convert it with the run's own code (Megatron-LM's tools/checkpoint/convert.py, or Megatron Bridge)"
MERGE_SLICES = (
    "join the slices with the run's code (Megatron-LM's tools/checkpoint/convert.py, or Megatron Bridge)"
)
