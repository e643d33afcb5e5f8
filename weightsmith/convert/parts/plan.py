"""What every part and the join must agree on: the plan, made by each of them anew from the same headers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.manifest_file import MANIFEST, MANIFEST_LIMITS, name_to_record, recorded_files
from weightsmith.checkpoint.model_files import is_weights
from weightsmith.checkpoint.unfinished import PARTS
from weightsmith.convert.conversion import describe_conversion
from weightsmith.convert.destination.choose import destination_of
from weightsmith.convert.destination.destination import NoDocumentError, document_in
from weightsmith.convert.finish.digests import sized_hash
from weightsmith.convert.finish.journal import describe_work
from weightsmith.convert.parts.notes import is_begun
from weightsmith.convert.plan.conversion_plan import make_plan, orders
from weightsmith.convert.plan.read_source import read_source
from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.manifest_file import RecordedFile
    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.destination.destination import Destination
    from weightsmith.convert.plan.conversion_plan import ConversionPlan
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.request import ConversionRequest, ConversionSource
    from weightsmith.json_value import Json


@dataclass(frozen=True, slots=True)
class PartsPlan:
    """The plan of a conversion in parts. work: a digest that is the same on every machine that has the source."""

    request: ConversionRequest
    source: ConversionSource
    conversion: ConversionPlan
    destination: Destination
    work: str

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
    destination = _destination(request, source)
    conversion = make_plan(request, source, destination.place)
    work = describe_work(conversion.weights, orders(request, conversion), source.checkpoint.files)
    return PartsPlan(request, source, conversion, destination, work)


def _destination(request: ConversionRequest, source: ConversionSource) -> Destination:
    """A folder that is absent, empty, being filled in parts, or was so. Raises TargetRefused for any other."""
    found = destination_of(request.target, (request.source, source.checkpoint.root))
    files = found.files()
    others = {name.partition("/")[0] for name in files} - {PARTS}
    if others and MANIFEST not in others and not is_begun(files):
        fact = f"is not empty (it holds {min(others)})"
        raise TargetRefused(request.target, fact, "name a new or an empty folder, the same for all parts")
    return found


def finished_already(plan: PartsPlan, *, by_hash: bool = False) -> bool:
    """Whether a join has made the target whole. Raises TargetRefused where it is the output of other work.

    by_hash: all of the source is read, to see that it is the same; else what is no weights of it.
    """
    files = plan.destination.files()
    if is_begun(files) or MANIFEST not in files:
        return False
    try:
        same = _is_of(plan, document_in(plan.destination, MANIFEST, MANIFEST_LIMITS), by_hash)
    except (NoDocumentError, ValueError):
        same = False
    if not same:
        fact = f"is not empty (it holds {MANIFEST} of other work)"
        raise TargetRefused(plan.request.target, fact, "name a new or an empty folder")
    return True


def _is_of(plan: PartsPlan, document: Mapping[str, Json], by_hash: bool) -> bool:
    """Whether a manifest tells of this work: the same converter, options and hash, files of the same names and sizes.

    by_hash: see `finished_already`. Raises ValueError where it lists no files.
    """
    made = {file.name: file.nbytes for file in recorded_files(document.get("output"))}
    read = {file.name: file for file in recorded_files(document.get("source"))}
    planned = {file: layout.nbytes for file, layout in plan.weights.files.items()}
    return (
        document.get("converter") == plan.conversion.converter
        and document.get("options") == json.loads(json.dumps(dict(plan.conversion.recipe.options)))
        and document.get("hash") == plan.request.hash_name
        and planned.items() <= made.items()
        and _is_source(plan, read, by_hash)
    )


def _is_source(plan: PartsPlan, recorded: Mapping[str, RecordedFile], by_hash: bool) -> bool:
    """Whether the source's files have the names and sizes of those that were read, and their hashes as asked for."""
    root, stamps = plan.source.checkpoint.root, plan.source.stamps
    for file in plan.source.files:
        known = recorded.get(name_to_record(Path(file).name if Path(file).is_absolute() else file))
        if known is None or known.nbytes != stamps[file].nbytes:
            return False
        hashed = by_hash or not is_weights(file)
        if hashed and sized_hash(root / file, plan.request.hash_name)[1] != known.digest:
            return False
    return True


def described_as_finished(plan: PartsPlan, began: float) -> Conversion:
    """The result of a run that found everything done. began: by the monotonic clock, in seconds."""
    whole = describe_conversion(plan.request, plan.source, plan.conversion, time.monotonic() - began)
    return replace(whole, notes=(*whole.notes, "it was joined before: nothing was written now"))
