"""All of a conversion by one run, where no folder can be renamed at the end: its only part, and the join behind it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.convert.conversion import describe_conversion
from weightsmith.convert.parts.join import finish_parts
from weightsmith.convert.parts.notes import remove_notes
from weightsmith.convert.parts.plan import described_as_finished, finished_already, plan_parts
from weightsmith.convert.parts.share import Part
from weightsmith.convert.parts.write import write_missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.request import ConversionRequest


def convert_whole(
    request: ConversionRequest, progress: Callable[[int, int], None] | None = None
) -> Conversion:
    """Writes and joins; what an earlier run of the same work has finished is not done again. Raises as `write_part`.

    That the work is the same is told by the source's files, not by their headers alone: nothing that was made of
    weights which have been replaced since is taken over.
    """
    began = time.monotonic()
    plan = plan_parts(request)
    if request.dry_run:
        return describe_conversion(request, plan.source, plan.conversion, time.monotonic() - began)
    if finished_already(plan, by_hash=True):
        remove_notes(plan.destination)
        return described_as_finished(plan, began)
    outcome = write_missing(plan, Part(1, 1), progress, alone=True)
    notes = finish_parts(plan)
    whole = describe_conversion(request, plan.source, plan.conversion, time.monotonic() - began, outcome)
    return replace(whole, notes=(*whole.notes, *notes))
