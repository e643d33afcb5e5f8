"""`make bench-fits`: what `weightsmith fits` says, against what real engines said of the same checkpoints.

outcomes/: for published models and an engine's version, whether that engine took the config (the CPU build of vLLM:
`ask_configs` asked; vllm-ascend on stand-ins for torch_npu: `ask_ascend`). described/: whether vllm-ascend built layers
of each scheme that ModelSlim's description may name (`ask_ascend`). caches/: for the small checkpoints of `models`, how
many blocks of KV cache and bytes of weights a card held (`ask_caches`). All are recordings of real runs. To make them
again, run these scripts in an environment of that engine, on what `python -m benchmarks.fits --configs FOLDER`,
`--described FOLDER` and `--models FOLDER` wrote.
"""
