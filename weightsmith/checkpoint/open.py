"""Opens any path that names a checkpoint, as one table."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.expansion import expanded
from weightsmith.checkpoint.file_bytes import too_big
from weightsmith.checkpoint.folder import (
    METADATA_FILE,
    choose_weights,
    is_distributed,
    numbered,
    one_slice,
    split_gguf,
    unlisted,
)
from weightsmith.checkpoint.index import MOST_SHARDS, disagreements, read_index
from weightsmith.checkpoint.layout import MOST_TENSORS
from weightsmith.checkpoint.names import quoted, sample
from weightsmith.checkpoint.place import is_absent, is_folder, located, need_reached, open_file, prefetch
from weightsmith.checkpoint.recognise import recognise
from weightsmith.checkpoint.safetensors_file import read_safetensors
from weightsmith.checkpoint.small_file import listed, names_in
from weightsmith.checkpoint.table import Checkpoint, Problem
from weightsmith.checkpoint.training.names import may_be_run
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.checkpoint.index import WeightIndex
    from weightsmith.checkpoint.place import AnyPlace, Place
    from weightsmith.checkpoint.recognise import FileFormat
    from weightsmith.checkpoint.table import FilePart, Format, Tensor
    from weightsmith.json_value import Json


# The code of the problem that the named file is one of several.
ONE_SHARD = "one-of-several-shards"
# What is parsed of all files together; see also MOST_TENSORS.
MOST_READ = 100_000_000
_TRUSTED = "get it from a source that you trust"


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A table is hundreds of thousands of objects, none of them garbage: Python's collector, which looks at all of them
    again and again while they are made, takes as long as the work itself."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_collector_paused()
def open_checkpoint(path: AnyPlace, answers: Mapping[str, int] | None = None) -> Checkpoint:
    """The tensor table of a checkpoint folder, one weights file or an index file. Reads headers only.

    answers: to what the files of a training run leave open, see `TrainingRun.questions`.

    Nothing in a file is ever executed, whatever it holds. Raises only WeightsmithError: MissingInput (absent,
    unreadable, a shard missing), UnknownFormat, CorruptCheckpoint, HostileCheckpoint, InvalidConfig (index).
    Lesser faults are in the result's `problems`.
    """
    found = _opened(located(path), answers or {})
    need_reached(found.root)
    return found


def _opened(path: Place, answers: Mapping[str, int]) -> Checkpoint:
    folder = is_folder(path)
    if folder and is_distributed(path):
        return _read_distributed(path, path, answers)
    if folder:
        run = _read_run(path, answers)
        if run is not None:
            return run
        choice = choose_weights(path)
        if choice.index is not None:
            return _read_indexed(path, path, choice.index, choice.problems)
        if split_gguf(choice.files, choice.files[0]):
            return _read_split_gguf(path, path, choice.files)
        return _read_files(path, path, choice.files, (*choice.problems, *one_slice(path, path)))
    if path.name == METADATA_FILE:
        return _read_distributed(path, path.parent, answers)
    if path.name.endswith(".index.json"):
        index = read_index(path)
        return _read_indexed(path, path.parent, index, tuple(unlisted(path.parent, path.name, index.files)))
    if numbered(path.name) and (files := split_gguf(names_in(path.parent), path.name)):
        return _read_split_gguf(path, path.parent, files)
    return _read_files(path, path.parent, (path.name,), _one_of_several(path))


def _read_indexed(path: Place, root: Place, index: WeightIndex, problems: tuple[Problem, ...]) -> Checkpoint:
    prefetch(root, index.files)
    absent = [file for file in index.files if is_absent(root / file)]
    if absent:
        raise MissingInput(
            root / index.name,
            f"names {quoted(absent[0])}, which is not there ({len(absent)} of {len(index.files)} missing)",
            "download the missing shards, or name the weights file itself",
        )
    checkpoint = _read_files(path, root, index.files, problems, index.name)
    return _with_problems(checkpoint, disagreements(index, checkpoint.tensors))


def _with_problems(checkpoint: Checkpoint, problems: list[Problem]) -> Checkpoint:
    return replace(checkpoint, problems=(*checkpoint.problems, *problems)) if problems else checkpoint


def _read_files(
    path: Place, root: Place, files: tuple[str, ...], problems: tuple[Problem, ...], index: str | None = None
) -> Checkpoint:
    """One table from several files. A tensor name may occur once."""
    sizes: dict[str, int] = {}
    seen: dict[object, str] = {}
    read = 0
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    formats: set[Format] = set()
    config: dict[str, Json] | None = None
    found = list(problems)
    empty: list[str] = []
    _refuse_too_many(path, files)
    prefetch(root, files)
    for name in sorted(files):
        with open_file(root / name, name) as file:
            _refuse_same_file(root / name, file, seen)
            part = _read_file(file)
            sizes[name] = file.size
        read += part.read
        empty += [key for key, tensor in part.tensors.items() if 0 in tensor.shape]
        before = len(tensors)
        tensors.update(part.tensors)
        if len(tensors) != before + len(part.tensors):
            _refuse_repeated_names(root, files, part)
        for key, text in part.metadata.items():
            metadata.setdefault(key, text)
        _refuse_too_much(path, max(len(tensors), len(metadata)), read)
        formats.add(part.format)
        config = part.config or config
        found += part.problems
    if not tensors:
        raise CorruptCheckpoint(path, *_why_empty(formats, problems))
    if empty:
        found.append(_without_elements(path, empty, len(tensors)))
    kind: Format = formats.pop() if len(formats) == 1 else "mixed"
    return _saying_expanded(
        Checkpoint(path, root, kind, sizes, tensors, index, metadata, tuple(found), config)
    )


def _read_split_gguf(path: Place, root: Place, files: tuple[str, ...]) -> Checkpoint:
    """One model in several files, of which the first says what the tensors of all of them are."""
    from weightsmith.checkpoint.gguf_file import joined, read_header

    _refuse_too_many(path, files)
    prefetch(root, files)
    headers, sizes = [], {}
    for name in files:
        with open_file(root / name, name) as file, _told_of_memory(file):
            headers.append(read_header(file))
            sizes[name] = file.size
        _refuse_too_much(path, sum(len(one.stored) for one in headers), sum(one.read for one in headers))
    part = joined(headers)
    if not part.tensors:
        raise CorruptCheckpoint(path, *_why_empty({"gguf"}, ()))
    _refuse_too_much(path, len(part.tensors), part.read)
    return _saying_expanded(
        Checkpoint(path, root, "gguf", sizes, part.tensors, None, {}, part.problems, part.config)
    )


def _refuse_too_many(path: Place, files: tuple[str, ...]) -> None:
    if len(files) > MOST_SHARDS:
        raise HostileCheckpoint(
            path, f"holds {len(files):,} weights files, more than {MOST_SHARDS:,}", _TRUSTED
        )


def _without_elements(path: Place, empty: list[str], count: int) -> Problem:
    """What ZeRO-3 leaves when its shards were not gathered before saving (field-notes, 2)."""
    return Problem(
        "empty-tensors", f"{path}: {len(empty)} of {count} tensors have no elements: {sample(empty)}"
    )


def _saying_expanded(checkpoint: Checkpoint) -> Checkpoint:
    problem = expanded(checkpoint)
    return _with_problems(checkpoint, [problem] if problem else [])


def _read_run(folder: Place, answers: Mapping[str, int]) -> Checkpoint | None:
    """What the processes of a training run left in a folder; None for any other."""
    if not may_be_run(listed(folder)):
        return None
    from weightsmith.checkpoint.training.find import folder_of_weights, read_training_run

    inner = folder_of_weights(folder)
    if is_distributed(inner):
        return _read_distributed(folder, inner, answers)
    run = read_training_run(folder, inner, answers)
    return None if run is None else _saying_expanded(run)


def _read_distributed(path: Place, root: Place, answers: Mapping[str, int]) -> Checkpoint:
    # The pickle modules are loaded only where a checkpoint needs them.
    from weightsmith.checkpoint.torch_distributed import read_torch_distributed
    from weightsmith.checkpoint.training.distributed import with_run

    return _saying_expanded(with_run(read_torch_distributed(path, root), answers))


def _read_file(file: ByteFile) -> FilePart:
    with _told_of_memory(file):
        return _READERS[recognise(file)](file)


@contextmanager
def _told_of_memory(file: ByteFile) -> Iterator[None]:
    """A header for which the memory does not suffice is refused by its file."""
    try:
        yield
    except MemoryError as error:
        raise too_big(file.subject, "its header", file.size) from error


def _read_torch_zip(file: ByteFile) -> FilePart:
    from weightsmith.checkpoint.torch_zip import read_torch_zip

    return read_torch_zip(file)


def _read_torch_legacy(file: ByteFile) -> FilePart:
    from weightsmith.checkpoint.torch_legacy import read_torch_legacy

    return read_torch_legacy(file)


def _read_gguf(file: ByteFile) -> FilePart:
    from weightsmith.checkpoint.gguf_file import read_gguf

    return read_gguf(file)


_READERS: dict[FileFormat, Callable[[ByteFile], FilePart]] = {
    "safetensors": read_safetensors,
    "torch-zip": _read_torch_zip,
    "torch-legacy": _read_torch_legacy,
    "gguf": _read_gguf,
}


def _refuse_repeated_names(root: Place, files: tuple[str, ...], part: FilePart) -> None:
    """Says which other file holds the same names. Reads the headers again: rare, so opening keeps no owner per name."""
    mine = next(iter(part.tensors.values())).storage.file
    for name in sorted(files):
        if name == mine:
            break
        with open_file(root / name, name) as file:
            repeated = [tensor for tensor in _read_file(file).tensors if tensor in part.tensors]
        if repeated:
            raise CorruptCheckpoint(
                root / mine,
                f"holds the tensor {quoted(repeated[0])}, and {name} does too ({len(repeated)} names are in both)",
                "remove the stale file or name one file; merge model-parallel slices (consolidated.00, .01)",
            )


def _refuse_same_file(path: Place, file: ByteFile, seen: dict[object, str]) -> None:
    """Links to one file, whose header would be parsed for each name, and whose tensors would all have two names."""
    first = seen.setdefault(file.identity(), file.name)
    if first != file.name:
        raise CorruptCheckpoint(
            path, f"is the same file as {first}", "remove one of the two, and the index if it names both"
        )


def _refuse_too_much(path: Place, most: int, read: int) -> None:
    if most > MOST_TENSORS or read > MOST_READ:
        raise HostileCheckpoint(
            path,
            f"describes {most:,} tensors or notes in {read:,} bytes of headers, more than {MOST_TENSORS:,} in "
            f"{MOST_READ:,} (the largest published model has 210,000 in 30,000,000)",
            _TRUSTED,
        )


def _why_empty(formats: Set[Format], problems: Sequence[Problem]) -> tuple[str, str]:
    """(fact, way out) of files without tensors. problems: of those that were named, not of what they hold."""
    if any(one.code == ONE_SHARD for one in problems):
        return "holds no tensors: those of a split model may all be in its other files", "name the folder"
    if formats == {"gguf"}:
        return (
            "holds no tensors: it is a GGUF file of a vocabulary alone",
            "name the file that has the weights",
        )
    return "holds no tensors", "download it again"


def _one_of_several(path: Place) -> tuple[Problem, ...]:
    part = numbered(path.name)
    if not part or part[2] < 2:
        return one_slice(path, path.parent)
    text = f"{path}: is shard {part[1]} of {part[2]}; name its folder to read the whole checkpoint"
    return (Problem(ONE_SHARD, text),)
