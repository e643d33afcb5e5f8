"""Prints what the vllm_ascend of this Python registers: `python ask_schemes.py > outcomes/vllm-ascend-V.json`.

Needs no NPU, but stand-ins for torch_npu: run it in the environment of `make test-vllm-matrix` (its `variables`).
"""

from __future__ import annotations

import json


def main() -> None:
    import vllm_ascend.quantization.methods  # noqa: F401 - registers what is in it
    from vllm_ascend.platform import NPUPlatform
    from vllm_ascend.quantization.methods.registry import _SCHEME_REGISTRY

    schemes = sorted(".".join(key) for key in _SCHEME_REGISTRY)
    print(json.dumps({"schemes": schemes, "quantization": sorted(NPUPlatform.supported_quantization)}))


if __name__ == "__main__":
    main()
