"""Child process of `proof`: builds a config on the meta device and answers with names and shapes."""

from __future__ import annotations

from typing import Any

from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.child import serve

BUILD_SECONDS = 300.0


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """config: what to build. code: the folder whose own classes are to be used, None for transformers'."""
    config = question["config"]
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return {"error": "the config names no model_type"}
    try:
        meta_models.prepare()
        if question["code"] is not None:
            meta_models.adopt(model_type, question["code"], config.get("auto_map") or {})
        made = meta_models.config_class(model_type).from_dict(config)
        known = meta_models.architectures(model_type)
        stated = config.get("architectures") or []
        chosen = next((name for name in stated if name in known), None) or next(iter(known), None)
        if chosen is None:
            return {"error": f"transformers has no language model for {model_type}"}
        built = meta_models.build(chosen, made, BUILD_SECONDS)
        ignored = meta_models.ignored_on_load(chosen)
    except ImportError as error:
        return {"missing": str(error)}
    except meta_models.Rejected as error:
        return {"error": str(error)}
    except Exception as error:  # whatever a config class raises
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    return {
        "reference": meta_models.version(),
        "class": chosen,
        "shapes": built.shapes,
        "copies": dict(built.copies),
        "ignored": ignored,
    }


if __name__ == "__main__":
    serve(answer)
