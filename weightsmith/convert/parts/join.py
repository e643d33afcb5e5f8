"""The end of a conversion in parts: every weights file is read again, then comes all that lies beside them."""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.hashing import file_hash
from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.checkpoint.names import quoted, sample
from weightsmith.checkpoint.sub_folders import is_sub_folder
from weightsmith.checkpoint.unfinished import PARTS
from weightsmith.convert.conversion import describe_conversion
from weightsmith.convert.finish.digests import sized_hash
from weightsmith.convert.finish.leftovers import MARKER
from weightsmith.convert.finish.metadata import WrittenWeights, seal
from weightsmith.convert.finish.sealing import need_planned, verify_file
from weightsmith.convert.finish.staging import refusal
from weightsmith.convert.parts.notes import (
    finished_shards,
    forget_shard,
    is_begun,
    known_sources,
    need_same_work,
    remove_notes,
)
from weightsmith.convert.parts.plan import described_as_finished, finished_already, plan_parts
from weightsmith.convert.plan.conversion_plan import CONFIG
from weightsmith.errors import MissingInput, TargetRefused, WeightsmithError
from weightsmith.values.parallel import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.destination.destination import Destination
    from weightsmith.convert.parts.plan import PartsPlan
    from weightsmith.convert.request import ConversionRequest


def join_parts(request: ConversionRequest, progress: Callable[[int, int], None] | None = None) -> Conversion:
    """Reads what the parts wrote, and makes of it the same folder that one run makes.

    Raises MissingInput where some of it is not there yet, TargetRefused where a file is not what its part wrote: then
    that part is to be run again. A join that dies may be run again.
    """
    began = time.monotonic()
    plan = plan_parts(request)
    notes: tuple[str, ...] = ()
    if not request.dry_run:
        if finished_already(plan):
            remove_notes(plan.destination)  # of a join that died just before its end
            return described_as_finished(plan, began)
        notes = finish_parts(plan, progress)
    whole = describe_conversion(request, plan.source, plan.conversion, time.monotonic() - began)
    return replace(whole, notes=(*whole.notes, *notes))


def finish_parts(plan: PartsPlan, progress: Callable[[int, int], None] | None = None) -> tuple[str, ...]:
    """Checks all weights files, and puts beside them what belongs there; what the user should know of it.

    Raises as `join_parts`.
    """
    try:
        return _join(plan, progress)
    except OSError as error:
        raise refusal(plan.destination.place, error) from error


def _join(plan: PartsPlan, progress: Callable[[int, int], None] | None) -> tuple[str, ...]:
    request, destination = plan.request, plan.destination
    if not is_begun(destination.files()):
        raise MissingInput(request.target, "holds no parts", "write them with --part 1/N to --part N/N")
    need_same_work(destination, plan.work)
    hashes = _need_all(plan)
    with destination.private("join", 0) as private:
        notes = destination.clear_dead_runs(private)
        if not destination.tells_bytes:
            _need_as_written(plan, hashes, progress)
        written = WrittenWeights(hashes, _source_hashes(plan))
        planned = seal(request, plan.source, plan.conversion, private.path, written)
        _need_no_other(plan, planned)
        beside = {name: what for name, what in planned.items() if name not in hashes}
        (private.path / MARKER).unlink()
        need_planned(private, destination.place, beside, request.hash_name)
        destination.publish(private)
        _move_beside(destination, private.path, beside)
    remove_notes(destination)
    return notes


def _need_all(plan: PartsPlan) -> dict[str, str]:
    """Weights file -> hash. Raises MissingInput where one is not there."""
    hashes = finished_shards(plan.destination, plan.weights, plan.work)
    missing = [file for file in plan.weights.files if file not in hashes]
    if missing:
        total = len(plan.weights.files)
        raise MissingInput(
            plan.request.target,
            f"lacks {len(missing)} of {total} weights files: {sample(missing)}",
            "run the parts that write them, then --join",
        )
    return {file: hashes[file] for file in plan.weights.files}


def _need_as_written(
    plan: PartsPlan, hashes: Mapping[str, str], progress: Callable[[int, int], None] | None
) -> None:
    """Reads every file. Raises TargetRefused for one that is not what its part wrote; it then counts as missing."""
    request, tally = plan.request, Tally(plan.weights.nbytes, progress)
    for file, layout in plan.weights.files.items():
        path = plan.destination.place / file
        try:
            verify_file(open_checkpoint(path), file, plan.table)
            same = file_hash(path, request.hash_name, request.workers) == hashes[file]
        except WeightsmithError:
            same = False
        if not same:
            forget_shard(plan.destination, file)
            raise TargetRefused(
                request.target,
                f"its {quoted(file)} is not what its part wrote",
                "run that part again, then --join",
            )
        tally.add(layout.nbytes)


def _source_hashes(plan: PartsPlan) -> dict[str, tuple[int, str]]:
    """Of every file of the source: what the parts noted, and what none of them has read to its end."""
    known = known_sources(plan.destination, plan.work)
    root, hash_name = plan.source.checkpoint.root, plan.request.hash_name
    return {
        file: known[file] if file in known else sized_hash(root / file, hash_name)
        for file in plan.source.files
    }


def _need_no_other(plan: PartsPlan, planned: Collection[str]) -> None:
    """Raises TargetRefused where something lies in the destination that neither parts nor a join put there."""
    for name in plan.destination.files():
        # A join that died may have made a known folder, and put nothing into it yet.
        if name not in planned and not name.startswith(f"{PARTS}/") and not is_sub_folder(name):
            raise TargetRefused(
                plan.request.target, f"{quoted(name)} was put into it by another program", "move it away"
            )


def _move_beside(destination: Destination, private: Path, names: Collection[str]) -> None:
    """Brings all that lies beside the weights to its place: the config last but one, then the manifest."""
    for name in sorted(names, key=lambda name: (name == MANIFEST, name == CONFIG, name)):
        destination.deliver(private / name, name, Event())
