"""Child process of `proof`: builds a config on the meta device and answers with names and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.build_answer import BuildQuestion, BuiltModel, NotBuilt
from weightsmith.shapes.reference.child import serve

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject


def answer(question: JsonObject) -> JsonObject:
    asked = BuildQuestion.read(question)
    try:
        return _built(asked.config, asked.code).document()
    except ImportError as error:
        return NotBuilt(str(error), missing_package=True).document()
    except meta_models.Rejected as error:
        return NotBuilt(str(error)).document()
    except Exception as error:  # config classes raise anything; the parent needs an answer, not a traceback
        return NotBuilt(meta_models.one_line(error)).document()


def _built(config: JsonObject, code: str | None) -> BuiltModel | NotBuilt:
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        return NotBuilt("the config names no model_type")
    meta_models.prepare()
    if code is not None:
        auto_map = config.get("auto_map")
        meta_models.adopt(model_type, code, auto_map if isinstance(auto_map, dict) else {})
    made = meta_models.config_class(model_type).from_dict(config)
    known = meta_models.architectures(model_type)
    stated = config.get("architectures")
    words = [name for name in stated if isinstance(name, str)] if isinstance(stated, list) else []
    named = [name for name in words if name in known or meta_models.has_task_head(name, model_type)]
    chosen = next(iter([*named, *known]), None)
    if chosen is None:
        return NotBuilt(f"transformers has no language model for {model_type}")
    built = meta_models.build(chosen, made)
    ignored = tuple(meta_models.ignored_on_load(chosen))
    shapes = built.shapes
    body = f"{chosen.partition('For')[0]}Model"
    if body in words:  # without a head, under the names that it has beside one
        stem = f"{meta_models.model_class(chosen).base_model_prefix}."
        shapes = {name: shape for name, shape in shapes.items() if name.startswith(stem)} or shapes
    return BuiltModel(meta_models.version(), chosen, shapes, built.copies, ignored)


if __name__ == "__main__":
    serve(answer)
