"""What every part and the join must agree on: the plan, made by each of them anew from the same headers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import read_json_object
from weightsmith.checkpoint.manifest_file import MANIFEST, MANIFEST_LIMITS, recorded_files
from weightsmith.checkpoint.unfinished import PARTS
from weightsmith.convert.conversion import describe_conversion
from weightsmith.convert.finish.journal import describe_work
from weightsmith.convert.finish.staging import real_target
from weightsmith.convert.parts.notes import is_begun
from weightsmith.convert.plan.conversion_plan import make_plan, orders
from weightsmith.convert.plan.read_source import read_source
from weightsmith.errors import TargetRefused, WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.plan.conversion_plan import ConversionPlan
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.request import ConversionRequest, ConversionSource


@dataclass(frozen=True, slots=True)
class PartsPlan:
    """The plan of a conversion in parts. work: a digest that is the same on every machine that has the source."""

    request: ConversionRequest
    source: ConversionSource
    conversion: ConversionPlan
    work: str

    @property
    def target(self) -> Path:
        """The real path of the output's folder."""
        return self.conversion.target

    @property
    def weights(self) -> OutputPlan:
        """All weights files of the output."""
        return self.conversion.weights

    @property
    def table(self) -> Checkpoint:
        """What opening the finished output must find."""
        return self.conversion.table


def plan_parts(request: ConversionRequest) -> PartsPlan:
    """The plan of the whole. Raises as `convert`, and TargetRefused where something else lies in the target."""
    source = read_source(request)
    target = _resolved(request, source)
    conversion = make_plan(request, source, target)
    # Numbers of files and times are another machine's own; that the bytes are the same their hashes tell.
    work = describe_work(conversion.weights, orders(request, conversion), source.checkpoint.files)
    return PartsPlan(request, source, conversion, work)


def _resolved(request: ConversionRequest, source: ConversionSource) -> Path:
    """The real path of a target that is absent, empty, being filled in parts, or was so."""
    target = request.target
    for place in (request.source, source.checkpoint.root):
        real, names = real_target(place, target)
    others = names - {PARTS}
    if others and MANIFEST not in names and not is_begun(real):
        fact = f"is not empty (it holds {min(others)})"
        raise TargetRefused(target, fact, "name a new or an empty folder, the same for all parts")
    return real


def finished_already(plan: PartsPlan) -> bool:
    """Whether a join has made the target whole. Raises TargetRefused where it is the output of other work."""
    if is_begun(plan.target) or not (plan.target / MANIFEST).is_file():
        return False
    planned = {file: layout.nbytes for file, layout in plan.weights.files.items()}
    try:
        document = read_json_object(plan.target / MANIFEST, MANIFEST_LIMITS)
        recorded = {file.name: file.nbytes for file in recorded_files(document.get("output"))}
        same = document.get("converter") == plan.conversion.converter
    except (WeightsmithError, ValueError):
        same, recorded = False, {}
    if not same or not planned.items() <= recorded.items():
        fact = f"is not empty (it holds {MANIFEST} of other work)"
        raise TargetRefused(plan.request.target, fact, "name a new or an empty folder")
    return True


def described_as_finished(plan: PartsPlan, began: float) -> Conversion:
    """The result of a run that found everything done. began: by the monotonic clock, in seconds."""
    whole = describe_conversion(plan.request, plan.source, plan.conversion, time.monotonic() - began)
    return replace(whole, notes=(*whole.notes, "it was joined before: nothing was written now"))
