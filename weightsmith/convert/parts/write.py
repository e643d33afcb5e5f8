"""One part of a conversion: its weights files, each put into the output as soon as it is whole."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert.conversion import Outcome, PartReport, count_tensors, describe_conversion
from weightsmith.convert.finish.digests import digesting
from weightsmith.convert.finish.sealing import verify_file
from weightsmith.convert.finish.staging import refusal, staging
from weightsmith.convert.parts.notes import (
    begin,
    finished_shards,
    is_begun,
    known_sources,
    note_shard,
    note_source,
    notes_folder,
)
from weightsmith.convert.parts.plan import PartsPlan, described_as_finished, finished_already, plan_parts
from weightsmith.convert.parts.share import share
from weightsmith.convert.parts.sources import hashed_by, read_for
from weightsmith.convert.stamps import need_unchanged
from weightsmith.convert.stream.pieces import pieces
from weightsmith.convert.stream.source_hashes import SourceHasher, files_read_in_order
from weightsmith.convert.stream.writer import WriteObserver, write_weights
from weightsmith.errors import TargetRefused
from weightsmith.process.durable import move_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from weightsmith.convert.conversion import Conversion
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
    if begun and not is_begun(plan.target):
        fact = "is not the folder that the other machines write to"
        raise TargetRefused(request.target, fact, "name a folder that all machines share")
    try:
        at_home = begin(plan.target, plan.work, plan.source.stamps, plan.source.checkpoint.root)
        done = finished_shards(plan.target, plan.weights)
        missing = tuple(file for file in mine if file not in done)
        to_hash = _to_hash(plan, mine, missing, at_home=at_home)
        made_zero = _write(plan, part, missing, to_hash, progress)
    except OSError as error:
        raise refusal(plan.target, error) from error
    except KeyboardInterrupt as interrupt:
        interrupt.args = (f"what was finished is kept in {plan.target}: run the same part again",)
        raise
    return _described(plan, part, mine, Outcome(len(mine) - len(missing), made_zero), began)


def _to_hash(plan: PartsPlan, mine: Collection[str], missing: Collection[str], *, at_home: bool) -> set[str]:
    """The files of the source whose hashes fall to this part.

    at_home: the source is the very files of the first part. A copy elsewhere is hashed as far as it is read, so that
    a join sees where two copies differ.
    """
    if at_home:
        return hashed_by(plan.weights, mine) - known_sources(plan.target).keys()
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
    with (
        staging(notes_folder(plan.target) / f"{part.number}-of-{part.of}") as private,
        digesting(checkpoint.root, sorted(to_hash - in_order), request.hash_name) as hashes,
    ):
        delivery = _Delivery(plan, private.path, read)
        observer = WriteObserver(delivery.finished, hasher.add, made_zero.update, _of(plan, others, progress))
        held = dict.fromkeys(others, "")
        write_weights(
            plan.weights, checkpoint, private.path, request.workers, request.hash_name, held, observer
        )
        found = {**hasher.digests(), **hashes.result()}
    need_unchanged(checkpoint.root, plan.source.stamps, request.source)
    for file, (nbytes, digest) in found.items():
        note_source(plan.target, file, nbytes, digest)
    return made_zero


@dataclass(frozen=True, slots=True)
class _Delivery:
    """Takes each file that is whole from the private folder of a part to the target.

    read: weights file -> the files of the source that it is made of.
    """

    plan: PartsPlan
    private: Path
    read: Mapping[str, set[str]]

    def finished(self, file: str, nbytes: int, digest: str) -> None:
        """Opens the file like a stranger's and looks whether its source was written to before it is let out."""
        source = self.plan.source
        verify_file(open_checkpoint(self.private / file), file, self.plan.table)
        stamps = {name: source.stamps[name] for name in self.read[file]}
        need_unchanged(source.checkpoint.root, stamps, self.plan.request.source)
        move_file(self.private / file, self.plan.target / file)
        note_shard(self.plan.target, file, nbytes, digest)


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
            len(finished_shards(plan.target, weights)),
            len(weights.files),
        ),
    )
