"""One type in one worker process: whatever happens becomes an answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.errors import InvalidPage
from weightsmith.shapes.learn.write.patches import patched, read_patch
from weightsmith.shapes.page.page import CATALOG

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject


@dataclass(frozen=True, slots=True)
class LearnedType:
    """What became of one type.

    page: as its file has it, patches applied; None where there is none, and reason says why. seconds: of wall time.
    builds: how many configs were built or refused, None where learning ended before. timed_out: how many of them ran
    into the safety net.
    """

    model_type: str
    page: JsonObject | None
    reason: str = ""
    seconds: float = 0.0
    builds: int | None = None
    timed_out: int = 0


def learn_one(model_type: str) -> LearnedType:
    """Learns a type and applies its patch."""
    from weightsmith.shapes.learn import part_pages
    from weightsmith.shapes.learn.probe.builder import OutOfBudget
    from weightsmith.shapes.reference import meta_models

    meta_models.prepare()
    started = time.monotonic()
    try:
        found = part_pages.learn(model_type)
        page = None if found.page is None else patched(found.page.document(), read_patch(CATALOG, model_type))
    except (meta_models.Rejected, OutOfBudget, InvalidPage) as error:
        return LearnedType(model_type, None, str(error), time.monotonic() - started)
    except Exception as error:  # one type must not stop the others; the run reports it
        reason = f"learner failed: {type(error).__name__}: {error}"[:300]
        return LearnedType(model_type, None, reason, time.monotonic() - started)
    passed = time.monotonic() - started
    return LearnedType(model_type, page, found.reason, passed, found.builds, len(found.timed_out))
