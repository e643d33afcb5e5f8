"""quant_model_description.json: what Ascend's loader reads to know how each tensor is stored.

vllm-ascend 0.26, quantization/modelslim_config.py: it looks up every weight of a linear layer and every embedding,
those that stayed floats, too, and ends at the first that is not there. msmodelslim writes a line for each tensor
(core/quant_service/modelslim_v1/save/ascendv1.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from weightsmith.convert.protocol import RecipeStep


def description(mode: str, steps: Iterable[RecipeStep], packed: Collection[str]) -> bytes:
    """The file's bytes: each tensor of the output by name, in the order of the names.

    mode: what the packed modules are stored as, such as W8A16. packed: the names of their weights.
    """
    modules = {name.removesuffix("weight") for name in packed}
    names = sorted(output.name for step in steps for output in step.outputs)
    kinds = {name: mode if _is_part(name, modules) else "FLOAT" for name in names}
    text = json.dumps({"model_quant_type": mode, **kinds}, indent=2, ensure_ascii=False)
    return f"{text}\n".encode()


def _is_part(name: str, modules: Collection[str]) -> bool:
    """Whether a tensor is one of those that make a packed weight; a bias stays a float."""
    module, last = name[: name.rfind(".") + 1], name.rpartition(".")[2]
    return module in modules and last != "bias"
