"""Child process of `proof`: reads a config from stdin, builds it on the meta device, prints names and shapes."""

from __future__ import annotations

import json
import sys
from typing import Any

from weightsmith.shapes.learn import reference


def answer(config: dict[str, Any]) -> dict[str, Any]:
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return {"error": "the config names no model_type"}
    try:
        reference.prepare()
        made = reference.config_class(model_type).from_dict(config)
        known = reference.architectures(model_type)
        stated = config.get("architectures") or []
        chosen = next((name for name in stated if name in known), None) or next(iter(known), None)
        if chosen is None:
            return {"error": f"transformers has no language model for {model_type}"}
        built = reference.build(chosen, made, 300.0)
    except reference.Rejected as error:
        return {"error": str(error)}
    except Exception as error:  # whatever a config class raises
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    return {"shapes": built.shapes, "copies": dict(built.copies)}


if __name__ == "__main__":
    # The one line on stdout is the answer; whatever libraries print goes to stderr.
    out, sys.stdout = sys.stdout, sys.stderr
    json.dump(answer(json.load(sys.stdin)), out)
