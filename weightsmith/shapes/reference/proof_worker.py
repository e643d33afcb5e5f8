"""Child process of `proof`: builds a config on the meta device and answers with names and shapes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.child import serve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.reference.meta_models import Shapes

BUILD_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """What transformers builds of a config.

    reference: its version. architecture: the class. shapes: what the class writes. copies: tied tensor → the one that
    it repeats. ignored: patterns of names that the class skips on loading.
    """

    reference: str
    architecture: str
    shapes: Shapes
    copies: Mapping[str, str]
    ignored: tuple[str, ...]

    @classmethod
    def of_document(cls, told: Mapping[str, Any]) -> BuiltModel:
        shapes = {name: tuple(shape) for name, shape in told["shapes"].items()}
        return cls(told["reference"], told["architecture"], shapes, told["copies"], tuple(told["ignored"]))


def answer(question: dict[str, Any]) -> JsonObject:
    """A BuiltModel as a document; {"missing": why} without torch and transformers, {"error": why} for a refused config.

    question: "config" is what to build, "code" the folder whose own classes are to be used, None for transformers'.
    """
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
    return asdict(BuiltModel(meta_models.version(), chosen, built.shapes, dict(built.copies), tuple(ignored)))


if __name__ == "__main__":
    serve(answer)
