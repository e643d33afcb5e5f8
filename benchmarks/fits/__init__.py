"""`make bench-fits`: what `weightsmith fits` says, against what real engines said of the same checkpoints.

outcomes/: for each published model and vLLM version, whether that vLLM took its config (its CPU build; `ask_configs`
asked). caches/: for the small checkpoints of `models`, how many blocks of KV cache and bytes of weights a card held
(`ask_caches`). Both are recordings of real runs. To make them again, run these two scripts in an environment of that
vLLM, on what `python -m benchmarks.fits --configs FOLDER` and `--models FOLDER` wrote.
"""
