"""Child process of `learn_page`: learns one family and answers with its page, or with the reason why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.learn.page_question import PageAnswer, PageQuestion
from weightsmith.shapes.reference.child import serve

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject


def answer(question: JsonObject) -> JsonObject:
    return _learned(PageQuestion.read(question)).document()


def _learned(question: PageQuestion) -> PageAnswer:
    from weightsmith.shapes.learn import part_pages
    from weightsmith.shapes.learn.probe.builder import OutOfBudget
    from weightsmith.shapes.reference import meta_models

    try:
        meta_models.prepare()
        if question.code is not None:
            meta_models.adopt(question.model_type, question.code, question.auto_map)
        result = part_pages.learn(question.model_type)
    except ImportError as error:
        return PageAnswer(None, f"learning a page needs torch and transformers ({error})")
    except (meta_models.Rejected, OutOfBudget) as error:
        return PageAnswer(None, str(error))
    return PageAnswer(result.page.document() if result.page else None, result.reason)


if __name__ == "__main__":
    serve(answer)
