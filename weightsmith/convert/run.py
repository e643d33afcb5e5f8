"""The whole of a conversion: plan, validate, execute, metadata last."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.expansion import refuse_expanded
from weightsmith.checkpoint.folder import ONE_SLICE, WHOLE_STEP
from weightsmith.checkpoint.gguf_model import NOT_KNOWN
from weightsmith.checkpoint.hashing import bytes_hash
from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.checkpoint.place import need_reached
from weightsmith.checkpoint.small_file import is_there
from weightsmith.convert.conversion import Outcome, describe_conversion
from weightsmith.convert.finish.digests import check_hash_name, digesting
from weightsmith.convert.finish.journal import Journal, describe_work, known_sources, verified
from weightsmith.convert.finish.leftovers import MARKER, clear
from weightsmith.convert.finish.manifest import manifest
from weightsmith.convert.finish.sealing import Written, verify
from weightsmith.convert.finish.side_copy import copy_side_file, in_sub_folder
from weightsmith.convert.finish.staging import finish, resolve_target, staging
from weightsmith.convert.plan.cast_dtype import parse_dtype
from weightsmith.convert.plan.choose import built_in, gather
from weightsmith.convert.plan.conversion_plan import CONFIG, make_plan
from weightsmith.convert.plan.model_names import under_model_names
from weightsmith.convert.plan.set_options import check_options
from weightsmith.convert.plan.shards import parse_size
from weightsmith.convert.protocol import FromSeveralPlaces
from weightsmith.convert.request import ConversionRequest, ConversionSource
from weightsmith.convert.stamps import need_unchanged, stamps
from weightsmith.convert.stream.source_hashes import SourceHasher, files_read_in_order
from weightsmith.convert.stream.writer import WriteObserver, write_weights
from weightsmith.errors import ConversionRefused
from weightsmith.process.durable import create_file
from weightsmith.values.parallel import default_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.plan.conversion_plan import ConversionPlan


def convert(
    source: Place,
    target: Path,
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
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Writes `target` from the checkpoint `source`; `weightsmith.library.convert` says what the arguments mean.

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
    return carry_out(request, progress)


def carry_out(request: ConversionRequest, progress: Callable[[int, int], None] | None = None) -> Conversion:
    """Plans, validates, executes, and writes the metadata last; a dry run ends with the plan. Raises as `convert`."""
    began = time.monotonic()
    source = read_source(request)
    target = resolve_target(request.source, request.target)
    if source.checkpoint.root not in (request.source, request.source.parent):
        resolve_target(source.checkpoint.root, request.target)
    plan = make_plan(request, source, target)
    if request.dry_run:
        return describe_conversion(request, source, plan, time.monotonic() - began)
    work = _describe_work(request, source, plan)
    with staging(plan.target, work if request.resume else None) as folder:
        written = execute(request, source, plan, folder.path, work, progress)
        planned = seal(request, source, plan, folder.path, written)
        finish(folder, plan.target, planned, request.hash_name)
    return describe_conversion(request, source, plan, time.monotonic() - began, written.outcome)


def read_source(request: ConversionRequest) -> ConversionSource:
    """Opens the source and gathers what is known of it; of its data at most a sample is read, and not yet."""
    opened = _opened(request)
    refuse_expanded(opened)
    _refuse_not_known(opened)
    if not request.allow_damage:
        _refuse_incomplete(opened)
    checkpoint, notes = under_model_names(opened)
    index_file = [checkpoint.index] if checkpoint.index else []
    config = [CONFIG] if is_there(checkpoint.root / CONFIG) else []
    files = (*checkpoint.files, *index_file, *config)
    before = stamps(checkpoint.root, files)
    evidence = gather(checkpoint)
    need_reached(checkpoint.root)
    return ConversionSource(checkpoint, evidence, files, before, notes)


def _opened(request: ConversionRequest) -> Checkpoint:
    """What SRC names, and what the named converter takes beside it."""
    named = next((converter for converter in built_in() if converter.name == request.converter), None)
    if not isinstance(named, FromSeveralPlaces):
        return open_checkpoint(request.source)
    check_options(named, request.options, built_in())
    return named.source(request.source, request.options)


def _refuse_not_known(checkpoint: Checkpoint) -> None:
    problem = next((problem for problem in checkpoint.problems if problem.code == NOT_KNOWN), None)
    if problem is not None:
        way_out = "get the safetensors version of the model"
        raise ConversionRefused(checkpoint.path, problem.message, way_out)


def _refuse_incomplete(checkpoint: Checkpoint) -> None:
    for problem in checkpoint.incomplete():
        what = problem.message.removeprefix(f"{checkpoint.path}: ")
        slice_of_it = problem.code == ONE_SLICE
        raise ConversionRefused(
            checkpoint.path,
            what if slice_of_it else f"is incomplete: {what}",
            f"{WHOLE_STEP if slice_of_it else 'get the whole of it'}, "
            "or convert what there is with --allow-damage (library: allow_damage=True)",
        )


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """hashes: weights file -> hash.

    source_hashes: file of the source -> (bytes, hash).
    """

    hashes: Mapping[str, str]
    source_hashes: Mapping[str, tuple[int, str]]
    outcome: Outcome


def execute(
    request: ConversionRequest,
    source: ConversionSource,
    plan: ConversionPlan,
    folder: Path,
    work: str,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenWeights:
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
        return WrittenWeights(hashes, hashed, Outcome(len(done), made_zero))


def seal(
    request: ConversionRequest,
    source: ConversionSource,
    plan: ConversionPlan,
    folder: Path,
    written: WrittenWeights,
) -> dict[str, Written]:
    """Writes the metadata, the manifest last: a folder without it is no checkpoint to anybody.

    Gives what the folder must hold now, by name. Raises CorruptCheckpoint when the source has changed meanwhile.
    """
    hash_name, root = request.hash_name, source.checkpoint.root
    facts = {file: (layout.nbytes, written.hashes[file]) for file, layout in plan.weights.files.items()}
    planned = {file: Written(nbytes) for file, (nbytes, _) in facts.items()}
    others: dict[str, tuple[int, str]] = {}
    for name, data in plan.made.items():
        create_file(folder / name, data)
        others[name] = len(data), bytes_hash(data, hash_name)
    for name in plan.side_files.copied:
        with in_sub_folder(root, folder, name):
            others[name] = copy_side_file(root / name, folder / name, hash_name)
    need_unchanged(root, source.stamps, request.source)
    need_reached(root)
    document = manifest(plan, hash_name, written.source_hashes, {**facts, **others})
    create_file(folder / MANIFEST, document)
    others[MANIFEST] = len(document), bytes_hash(document, hash_name)
    return planned | {name: Written(*found) for name, found in others.items()}


def _describe_work(request: ConversionRequest, source: ConversionSource, plan: ConversionPlan) -> str:
    """A digest of all that decides the weights files: an interrupted run may be resumed when it is the same."""
    orders = [
        plan.converter,
        dict(plan.recipe.options),
        dict(request.options),
        request.dtype,
        request.max_shard_bytes,
        request.hash_name,
    ]
    return describe_work(plan.weights, orders, source.stamps)
