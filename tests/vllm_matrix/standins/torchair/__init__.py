"""Stand-in for torchair: real module files, because vllm_ascend 0.18 reloads two of them."""
