"""One type in one worker process: whatever happens becomes a row of the report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.write.page_file import text_of
from weightsmith.shapes.learn.write.report_file import ReportRow

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject


def learn_one(task: tuple[str, float]) -> tuple[ReportRow, JsonObject | None]:
    """task: a model type, and the seconds of computing that it may take. None where no page could be learned."""
    from weightsmith.shapes.learn import learner
    from weightsmith.shapes.reference import meta_models

    meta_models.prepare()
    model_type, seconds = task
    started = time.monotonic()
    try:
        result = learner.learn(model_type, seconds)
    except (meta_models.Rejected, TimeoutError) as error:
        return ReportRow(model_type, str(error), seconds=round(time.monotonic() - started, 1)), None
    except Exception as error:  # one type must not stop the others; the report carries it
        return ReportRow(model_type, f"learner failed: {type(error).__name__}: {error}"[:300]), None
    passed = round(result.seconds, 1)
    if result.page is None:
        return ReportRow(model_type, result.reason, 0, passed, result.builds, result.proofs), None
    page, left = result.page.document(), len(result.page.unexpressed)
    size = len(text_of(page))
    return ReportRow(model_type, result.reason, left, passed, result.builds, result.proofs, size), page
