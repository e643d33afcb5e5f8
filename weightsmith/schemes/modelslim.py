"""Ascend's ModelSlim: a file beside the weights says of each tensor whether and how it is quantized."""

# vllm-ascend looks for it under this name (quantization/modelslim_config.py).
DESCRIPTION_FILE = "quant_model_description.json"
