"""The whole of a conversion: plan, validate, execute, metadata last."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.convert.conversion import Outcome, describe_conversion
from weightsmith.convert.finish.digests import check_hash_name, digesting
from weightsmith.convert.finish.journal import Journal, describe_work, known_sources, verified
from weightsmith.convert.finish.leftovers import MARKER, clear
from weightsmith.convert.finish.metadata import WrittenWeights, seal
from weightsmith.convert.finish.sealing import verify
from weightsmith.convert.finish.staging import finish, resolve_target, staging
from weightsmith.convert.parts.share import Whole
from weightsmith.convert.plan.cast_dtype import parse_dtype
from weightsmith.convert.plan.conversion_plan import make_plan, orders
from weightsmith.convert.plan.read_source import read_source
from weightsmith.convert.plan.shards import parse_size
from weightsmith.convert.request import ConversionRequest
from weightsmith.convert.stream.source_hashes import SourceHasher, files_read_in_order
from weightsmith.convert.stream.writer import WriteObserver, write_weights
from weightsmith.values.parallel import default_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.parts.share import Share
    from weightsmith.convert.plan.conversion_plan import ConversionPlan
    from weightsmith.convert.request import ConversionSource


def convert(
    source: Place,
    target: Place,
    *,
    converter: str | None = None,
    options: Mapping[str, str] | None = None,
    dtype: str | None = None,
    max_shard_size: str = "5GB",
    workers: int | None = None,
    hash_name: str = "blake3",
    dry_run: bool = False,
    resume: bool = False,
    accept_guesses: bool = False,
    allow_damage: bool = False,
    share: Share | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Writes `target` from the checkpoint `source`; `weightsmith.library.convert` says what the arguments mean.

    share: what is done of it here; None for all.
    progress: called with the bytes read so far, and with how many there are.

    Raises ConversionRefused, TargetRefused, and what `open_checkpoint` raises; then `target` is as it was before.
    """
    request = ConversionRequest(
        source=source,
        target=target,
        converter=converter,
        options=options or {},
        dtype=parse_dtype(dtype),
        max_shard_bytes=parse_size(max_shard_size),
        workers=workers or default_workers(),
        hash_name=check_hash_name(hash_name),
        dry_run=dry_run,
        resume=resume,
        accept_guesses=accept_guesses,
        allow_damage=allow_damage,
    )
    return carry_out(request, progress) if share is None else share.carry_out(request, progress)


def carry_out(request: ConversionRequest, progress: Callable[[int, int], None] | None = None) -> Conversion:
    """Plans, validates, executes, and writes the metadata last; a dry run ends with the plan. Raises as `convert`."""
    if not isinstance(request.target, Path):
        return Whole().carry_out(request, progress)
    began = time.monotonic()
    source = read_source(request)
    target = resolve_target(request.source, request.target)
    if source.checkpoint.root not in (request.source, request.source.parent):
        resolve_target(source.checkpoint.root, request.target)
    plan = make_plan(request, source, target)
    if request.dry_run:
        return describe_conversion(request, source, plan, time.monotonic() - began)
    work = describe_work(plan.weights, orders(request, plan), source.stamps)
    with staging(target, work if request.resume else None) as staged:
        written, outcome = execute(request, source, plan, staged.path, work, progress)
        planned = seal(request, source, plan, staged.path, written)
        finish(staged, target, planned, request.hash_name)
    return describe_conversion(request, source, plan, time.monotonic() - began, outcome)


def execute(
    request: ConversionRequest,
    source: ConversionSource,
    plan: ConversionPlan,
    folder: Path,
    work: str,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[WrittenWeights, Outcome]:
    """Writes the weights files into `folder`, hashed and on the disk, and opens them again to check them.

    work: the digest under which the journal notes what is finished.
    The source is hashed at the same time: from what is read for the conversion where that comes in order, from
    reads of its own elsewhere. Raises as `write_weights` and `verify` do.
    """
    checkpoint, hash_name = source.checkpoint, request.hash_name
    in_order = files_read_in_order(plan.weights)
    sizes = {file: size for file, size in checkpoint.files.items() if file in in_order}
    others = [file for file in source.files if file not in in_order]
    with digesting(checkpoint.root, others, hash_name) as other_hashes:
        done = verified(folder / MARKER, plan.weights, hash_name, request.workers)
        # What lies here is read again: nobody need believe a journal about it.
        far = not isinstance(checkpoint.root, Path)
        known = known_sources(folder / MARKER, sizes, done) if far else {}
        journal = Journal(folder / MARKER, work, plan.weights, done, known)
        unknown = {file: size for file, size in sizes.items() if file not in known}
        finished = journal.source_read if far else None
        source_hasher = SourceHasher(checkpoint.root, unknown, hash_name, finished)
        clear(folder, {MARKER, *done})
        made_zero: Counter[str] = Counter()
        observer = WriteObserver(journal.finished, source_hasher.add, made_zero.update, progress)
        hashes = write_weights(plan.weights, checkpoint, folder, request.workers, hash_name, done, observer)
        verify(folder, plan.table)
        hashed = {**known, **source_hasher.digests(), **other_hashes.result()}
        return WrittenWeights(hashes, hashed), Outcome(len(done), made_zero)
