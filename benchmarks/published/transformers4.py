"""Builds models in transformers 4: `python transformers4.py QUESTIONS ANSWERS`, with that version on the path.

QUESTIONS holds one JSON object per line, a config each. ANSWERS gets one line for each of them:
`{"shapes": {name: shape}}` as `save_pretrained` of that version names them, or `{"refused": why}`.
It stands alone: nothing of Weightsmith is imported.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")

import torch  # noqa: E402 (the variable must stand before)
import transformers  # noqa: E402
from transformers.modeling_utils import VLMS, no_init_weights  # noqa: E402
from transformers.models.auto import modeling_auto  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

# In this order as weightsmith.shapes.reference.meta_models has it: the first that knows a type names its class.
_MAPPINGS = ("IMAGE_TEXT_TO_TEXT", "CAUSAL_LM", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ")


def answer(config: dict[str, object]) -> dict[str, object]:
    try:
        name = _architecture(config)
        kind = getattr(transformers, name).config_class
        with torch.device("meta"), no_init_weights():
            model = getattr(transformers, name)._from_config(kind.from_dict(config))
        model.tie_weights()  # what comes after the values, which are not there
        return {"shapes": saved_shapes(model)}
    except Exception as error:  # configs and constructors raise anything on what they refuse
        return {"refused": " ".join(f"{type(error).__name__}: {error}".split())[:200]}


def saved_shapes(model: transformers.PreTrainedModel) -> dict[str, list[int]]:
    """What `save_pretrained` of transformers 4.57 writes (modeling_utils.py), which takes no model without data.

    Names go through the reversed `_checkpoint_conversion_mapping` where the class is one of VLMS; of tensors that are
    one parameter, those that `_tied_weights_keys` names are left out.
    """
    state = dict(model.state_dict(keep_vars=True))
    for name in model._keys_to_ignore_on_save or ():
        state.pop(name, None)
    classes = [cls.__name__.lower() for cls in type(model).__mro__[:-1]]
    if any(allowed in name for name in classes for allowed in VLMS):
        state = {_renamed(name, model._checkpoint_conversion_mapping): value for name, value in state.items()}
    owners: dict[int, list[str]] = {}
    for name, value in state.items():
        owners.setdefault(id(value), []).append(name)
    tied = model._tied_weights_keys or ()
    for names in owners.values():
        for name in names:
            left = sum(other in state for other in names)
            if left > 1 and any(re.search(pattern, name) for pattern in tied):
                del state[name]
    return {name: list(value.shape) for name, value in state.items()}


def _renamed(name: str, mapping: dict[str, str]) -> str:
    for saved, loaded in mapping.items():
        changed, count = re.subn(loaded, re.sub(r"\(.*\)", "", saved.lstrip("^")), name)
        if count:
            return str(changed)
    return name


def _architecture(config: dict[str, object]) -> str:
    stated = config.get("architectures")
    named = [str(name) for name in stated] if isinstance(stated, list) else []
    model_type = str(config["model_type"])
    if model_type not in CONFIG_MAPPING:
        raise LookupError(f"no class for {model_type}")
    for kind in _MAPPINGS:
        known = getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES").get(model_type)
        if known:
            named.append(known if isinstance(known, str) else known[0])
    return next(name for name in named if hasattr(transformers, name))


def main() -> None:
    questions, answers = sys.argv[1:]
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    with Path(questions).open(encoding="utf-8") as lines, Path(answers).open("w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
