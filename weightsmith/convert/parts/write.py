"""One part of a conversion: its weights files, each put into the output as soon as it is whole."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.convert.conversion import Outcome, PartReport, count_tensors, describe_conversion
from weightsmith.convert.destination.destination import ANEW
from weightsmith.convert.finish.digests import digesting
from weightsmith.convert.finish.staging import refusal
from weightsmith.convert.parts.delivery import AT_ONCE, Delivery
from weightsmith.convert.parts.notes import (
    begin,
    finished_shards,
    is_begun,
    known_sources,
    note_source,
)
from weightsmith.convert.parts.plan import described_as_finished, finished_already, plan_parts
from weightsmith.convert.parts.share import share
from weightsmith.convert.parts.sources import hashed_by, read_for
from weightsmith.convert.stamps import need_unchanged
from weightsmith.convert.stream.pieces import pieces
from weightsmith.convert.stream.source_hashes import SourceHasher, files_read_in_order
from weightsmith.convert.stream.writer import WriteObserver, write_weights
from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.parts.plan import PartsPlan
    from weightsmith.convert.parts.share import Part
    from weightsmith.convert.request import ConversionRequest


def write_part(
    request: ConversionRequest,
    part: Part,
    progress: Callable[[int, int], None] | None = None,
    *,
    begun: bool = False,
) -> Conversion:
    """Writes the part's files into the target, which stays unfinished until `join_parts`.

    What is finished is not done again, whoever did it. begun: another machine has made the target, so that it must be
    here. Raises as `convert`; what was finished until then stays.
    """
    began = time.monotonic()
    plan = plan_parts(request)
    mine = share(plan.weights, part)
    if request.dry_run:
        return _described(plan, part, mine, Outcome(0, Counter()), began)
    if finished_already(plan):
        return described_as_finished(plan, began)
    if begun and not is_begun(plan.destination.files()):
        fact = "is not the folder that the other machines write to"
        raise TargetRefused(request.target, fact, "name a folder that all machines share")
    outcome = write_missing(plan, part, progress)
    return _described(plan, part, mine, outcome, began)


def write_missing(
    plan: PartsPlan, part: Part, progress: Callable[[int, int], None] | None = None, *, alone: bool = False
) -> Outcome:
    """Makes those of the part's files that are not there yet. Raises as `write_part`.

    alone: no other machine is at work with a copy of the source, so that other files are other weights.
    """
    mine, destination = share(plan.weights, part), plan.destination
    try:
        at_home = begin(destination, plan.work, plan.source.stamps, plan.source.checkpoint.root)
        if alone and not at_home:
            raise TargetRefused(
                destination.place,
                "was begun with a source whose files had other sizes or times",
                ANEW,
            )
        done = finished_shards(destination, plan.weights, plan.work)
        missing = tuple(file for file in mine if file not in done)
        to_hash = _to_hash(plan, mine, missing, at_home=at_home)
        made_zero = _write(plan, part, missing, to_hash, progress)
    except OSError as error:
        raise refusal(destination.place, error) from error
    except KeyboardInterrupt as interrupt:
        interrupt.args = (f"what was finished is kept in {destination.place}: run the same command again",)
        raise
    return Outcome(len(mine) - len(missing), made_zero)


def _to_hash(plan: PartsPlan, mine: Collection[str], missing: Collection[str], *, at_home: bool) -> set[str]:
    """The files of the source whose hashes fall to this part.

    at_home: the source is the very files of the first part. A copy elsewhere is hashed as far as it is read, so that
    a join sees where two copies differ.
    """
    if at_home:
        return hashed_by(plan.weights, mine) - known_sources(plan.destination, plan.work).keys()
    return set().union(*read_for(plan.weights, missing).values())


def _write(
    plan: PartsPlan,
    part: Part,
    missing: tuple[str, ...],
    to_hash: set[str],
    progress: Callable[[int, int], None] | None,
) -> Counter[str]:
    """Writes and delivers the missing files, then notes the hashes of some files of the source; see `Outcome`.

    to_hash: these files.
    """
    request, checkpoint = plan.request, plan.source.checkpoint
    read = read_for(plan.weights, missing)
    made_zero: Counter[str] = Counter()
    others = plan.weights.files.keys() - missing
    in_order = files_read_in_order(plan.weights, others) & to_hash
    hasher = SourceHasher(
        checkpoint.root, {file: checkpoint.files[file] for file in in_order}, request.hash_name
    )
    largest = sorted((plan.weights.files[file].nbytes for file in missing), reverse=True)[:AT_ONCE]
    with (
        plan.destination.private(f"{part.number}-of-{part.of}", sum(largest)) as private,
        digesting(checkpoint.root, sorted(to_hash - in_order), request.hash_name) as hashes,
        Delivery(plan, private.path, read) as delivery,
    ):
        observer = WriteObserver(
            delivery.finished, hasher.add, made_zero.update, _of(plan, others, progress), delivery.space
        )
        held = dict.fromkeys(others, "")
        write_weights(
            plan.weights, checkpoint, private.path, request.workers, request.hash_name, held, observer
        )
        found = {**hasher.digests(), **hashes.result()}
    need_unchanged(checkpoint.root, plan.source.stamps, request.source)
    for file, (nbytes, digest) in found.items():
        note_source(plan.destination, plan.work, file, nbytes, digest)
    return made_zero


def _of(
    plan: PartsPlan, others: Collection[str], progress: Callable[[int, int], None] | None
) -> Callable[[int, int], None] | None:
    """The progress of the part alone, out of that of the whole, in which the other parts count as done."""
    if progress is None:
        return None
    mine = sum(piece.nbytes for piece in pieces(plan.weights, others))

    def of_the_part(done: int, total: int) -> None:
        progress(done - (total - mine), mine)

    return of_the_part


def _described(
    plan: PartsPlan, part: Part, mine: tuple[str, ...], outcome: Outcome, began: float
) -> Conversion:
    """The result, of the part's files alone."""
    weights = plan.weights
    whole = describe_conversion(
        plan.request, plan.source, plan.conversion, time.monotonic() - began, Outcome(0, outcome.made_zero)
    )
    steps = tuple(s for s in weights.steps if weights.file_of[s.outputs[0].name] in mine)
    return replace(
        whole,
        files=mine,
        tensors=count_tensors(
            replace(plan.conversion.recipe, steps=steps, dropped={}), plan.source.checkpoint
        ),
        bytes_read=sum(piece.nbytes for piece in pieces(weights, weights.files.keys() - mine)),
        bytes_written=sum(weights.files[file].nbytes for file in mine),
        part=PartReport(
            part.number,
            part.of,
            outcome.resumed,
            len(finished_shards(plan.destination, weights, plan.work)),
            len(weights.files),
        ),
    )
