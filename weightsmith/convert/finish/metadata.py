"""All that lies beside the weights of an output, and last of all weightsmith.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import bytes_hash
from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.checkpoint.place import need_reached
from weightsmith.convert.finish.manifest import manifest
from weightsmith.convert.finish.sealing import Written
from weightsmith.convert.finish.side_copy import copy_side_file, in_sub_folder
from weightsmith.convert.stamps import need_unchanged
from weightsmith.process.durable import create_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.convert.plan.conversion_plan import ConversionPlan
    from weightsmith.convert.request import ConversionRequest, ConversionSource


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """hashes: weights file -> hash.

    source_hashes: file of the source -> (bytes, hash).
    """

    hashes: Mapping[str, str]
    source_hashes: Mapping[str, tuple[int, str]]


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
