"""One type in one worker process: whatever happens becomes a row of the report."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from weightsmith.shapes.learn.write.page_file import text_of


def learn_one(task: tuple[str, float]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    from weightsmith.shapes.learn import learner
    from weightsmith.shapes.reference import meta_models

    meta_models.prepare()
    model_type, seconds = task
    row: dict[str, Any] = {"model_type": model_type, "reason": "", "unexpressed": 0, "seconds": 0.0}
    started = time.monotonic()
    try:
        outcome = learner.learn(model_type, seconds)
    except (meta_models.Rejected, TimeoutError) as error:
        return {**row, "reason": str(error), "seconds": round(time.monotonic() - started, 1)}, None
    except Exception as error:  # one type must not stop the others; the report carries it
        return {**row, "reason": f"learner failed: {type(error).__name__}: {error}"[:300]}, None
    row |= {k: v for k, v in asdict(outcome).items() if k in ("reason", "builds", "proofs")}
    row["seconds"] = round(outcome.seconds, 1)
    if outcome.page is not None:
        row["unexpressed"] = len(outcome.page.get("unexpressed", {}))
        row["bytes"] = len(text_of(outcome.page))
    return row, outcome.page
