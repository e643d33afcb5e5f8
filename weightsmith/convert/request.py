"""What a conversion starts from: what the user asked for, and the source as it was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.protocol import SourceEvidence
    from weightsmith.convert.stamps import Stamp


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """What was asked, parsed and checked.

    source, target: places as the user wrote them.
    converter: a name, or None to choose by evidence.
    options: the `--set` pairs.
    dtype: the safetensors name of the dtype to cast to; None to keep each tensor's own.
    max_shard_bytes: of the tensors in one output file.
    workers: threads; the bytes written do not depend on it.
    hash_name: one of HASHES.
    dry_run: stop after the plan; nothing is written.
    resume: keep what a killed run of the same work has finished.
    accept_guesses: write a config also where neither weights nor config decide all of it.
    allow_damage: convert also what is incomplete, and numbers that are NaN or infinite.
    """

    source: Place
    target: Place
    converter: str | None
    options: Mapping[str, str]
    dtype: str | None
    max_shard_bytes: int
    workers: int
    hash_name: str
    dry_run: bool = False
    resume: bool = False
    accept_guesses: bool = False
    allow_damage: bool = False


@dataclass(frozen=True, slots=True)
class ConversionSource:
    """The source, read as far as its headers and a sample.

    files: those that decide the output: weights, index and config.
    stamps: file -> what the file system said of it before anything was read.
    notes: what the user should know of how it was read.
    """

    checkpoint: Checkpoint
    evidence: SourceEvidence
    files: tuple[str, ...]
    stamps: Mapping[str, Stamp]
    notes: tuple[str, ...] = ()
