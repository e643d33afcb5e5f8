"""The whole of a conversion in one function: plan, validate, execute, metadata last."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.convert.conversion import Conversion, count
from weightsmith.convert.finish.digests import check_name, digest, digesting
from weightsmith.convert.finish.journal import Journal, describe_work, verified
from weightsmith.convert.finish.leftovers import MARKER, clear
from weightsmith.convert.finish.manifest import manifest
from weightsmith.convert.finish.sealing import copy_file, stamps, verify, write_file
from weightsmith.convert.finish.staging import finish, resolve_target, staging
from weightsmith.convert.plan.cast_dtype import parse_dtype
from weightsmith.convert.plan.choose import check_options, choose, gather
from weightsmith.convert.plan.output_config import apply, compare, encode, true_config
from weightsmith.convert.plan.output_plan import as_checkpoint, make_plan
from weightsmith.convert.plan.shards import INDEX, index, parse_size
from weightsmith.convert.plan.side_files import find_side_files
from weightsmith.convert.stream.along import Along, read_in_order
from weightsmith.convert.stream.writer import write_weights
from weightsmith.errors import CorruptCheckpoint
from weightsmith.schemes.packed import packed_tensors
from weightsmith.values.parallel import default_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint

CONFIG = "config.json"


def convert(
    source: Path,
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
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Writes `target`, a folder that does not exist or is empty, from the checkpoint `source`.

    converter: a name, or None to choose by evidence. options: the `--set` pairs. dtype, max_shard_size as
    written by the user. workers: threads; the bytes written do not depend on it. resume: keep what a killed
    run of the same work has finished. progress: bytes read, of how many. Raises ConversionRefused,
    TargetRefused, and what `open_checkpoint` raises; then `target` is as it was before.
    """
    began = time.monotonic()
    asked, threads = options or {}, workers or default_workers()
    check_name(hash_name)
    limit, cast_to = parse_size(max_shard_size), parse_dtype(dtype)

    # Plan: everything about the output is known from headers before any data is read.
    checkpoint = open_checkpoint(source)
    real_target = resolve_target(source, target)
    inputs = _inputs(checkpoint)
    before = stamps(checkpoint.root, inputs)
    evidence = gather(checkpoint)
    chosen, reason = choose(evidence, converter)
    check_options(chosen, asked)
    recipe = chosen.plan(evidence, asked, cast_to)
    plan = make_plan(recipe, limit)
    table = as_checkpoint(plan, checkpoint, real_target)
    # Packed tensors do not show the model's shapes; the side that is not packed does.
    shown = checkpoint if packed_tensors(table) and not packed_tensors(checkpoint) else table
    config = apply(true_config(shown, evidence.config), recipe.config)
    changes = compare(evidence.config, config)
    side = find_side_files(checkpoint, {**recipe.left_out, **dict.fromkeys(recipe.files, "written anew")})
    index_bytes = index(plan.shards)

    made = {**recipe.files, **({INDEX: index_bytes} if index_bytes else {})}
    if config is not None:
        made[CONFIG] = encode(config)
    names = [*plan.files, *made]
    result = Conversion(
        converter=chosen.name,
        reason=reason,
        options=recipe.options,
        source=str(source),
        output=str(target),
        files=(*names, *side.copied, MANIFEST),
        tensors=count(recipe, checkpoint),
        bytes_read=plan.bytes_read,
        bytes_written=plan.nbytes,
        seconds=0.0,
        config_changes=changes,
        left_out=side.left_out,
        problems=checkpoint.problems,
        notes=recipe.notes,
        dry_run=dry_run,
    )
    if dry_run:
        return replace(result, seconds=time.monotonic() - began)

    orders = [chosen.name, dict(recipe.options), dict(asked), cast_to, limit, hash_name]
    work = describe_work(plan, orders, before)
    followed = read_in_order(plan)
    along = Along(
        checkpoint.root, {f: size for f, size in checkpoint.files.items() if f in followed}, hash_name
    )
    others = [file for file in inputs if file not in followed]
    with (
        staging(real_target, work if resume else None) as folder,
        digesting(checkpoint.root, others, hash_name) as other_hashes,
    ):
        # Execute: written, hashed and brought to the disk at the same time. Then open it like a stranger.
        done = verified(folder / MARKER, plan, hash_name, threads)
        journal = Journal(folder / MARKER, work, plan, done)
        clear(folder, {MARKER, *done})
        weights = write_weights(
            plan, checkpoint, folder, threads, hash_name, progress, done, journal.finished, along.saw
        )
        verify(folder, table)

        # Metadata last: a folder without it is no checkpoint to anybody.
        for name, data in made.items():
            write_file(folder / name, data)
        for name, path in side.copied.items():
            copy_file(path, folder / name)
        hashes = {**weights, **{f: digest(folder / f, hash_name) for f in [*made, *side.copied]}}
        source_hashed = {**along.digests(), **other_hashes.result()}
        if stamps(checkpoint.root, inputs) != before:
            raise CorruptCheckpoint(
                source,
                "changed while it was converted",
                "let the download or the writer finish, then try again",
            )
        write_file(
            folder / MANIFEST,
            manifest(
                converter=chosen.name,
                reason=reason,
                options=recipe.options,
                hash_name=hash_name,
                source=source_hashed,
                output={f: ((folder / f).stat().st_size, found) for f, found in hashes.items()},
                changes=changes,
                dropped=recipe.dropped,
                left_out=side.left_out,
            ),
        )
        finish(folder, real_target)
    resumed = (
        (f"{len(done)} of {len(plan.files)} weights files were there from a killed run",) if done else ()
    )
    return replace(result, seconds=time.monotonic() - began, notes=(*recipe.notes, *resumed))


def _inputs(checkpoint: Checkpoint) -> list[str]:
    """The files of the source that decide the output."""
    index_file = [checkpoint.index] if checkpoint.index else []
    config = [CONFIG] if (checkpoint.root / CONFIG).is_file() else []
    return [*checkpoint.files, *index_file, *config]
