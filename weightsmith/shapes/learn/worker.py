"""Child process of `learn_page`: learns one family and answers with its page, or with the reason why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightsmith.shapes.reference.child import serve

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject


def answer(question: dict[str, Any]) -> JsonObject:
    """model_type. seconds: of computing. code, auto_map: a folder whose own classes are to be learned, or None."""
    from weightsmith.shapes.learn import learner
    from weightsmith.shapes.reference import meta_models

    model_type: str = question["model_type"]
    try:
        meta_models.prepare()
        if question["code"] is not None:
            meta_models.adopt(model_type, question["code"], question["auto_map"])
        outcome = learner.learn(model_type, question["seconds"])
    except ImportError as error:
        return {"error": f"learning a page needs torch and transformers ({error})"}
    except (meta_models.Rejected, TimeoutError) as error:
        return {"error": str(error)}
    return {"page": outcome.page} if outcome.page else {"error": outcome.reason}


if __name__ == "__main__":
    serve(answer)
