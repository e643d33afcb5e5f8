"""Which files of a folder are the model's weights, and which only look like it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.index import read_index
from weightsmith.checkpoint.loaders import USUAL, difference, of_transformers
from weightsmith.checkpoint.model_files import is_trainer_state
from weightsmith.checkpoint.names import quoted, sample
from weightsmith.checkpoint.place import folders_in
from weightsmith.checkpoint.small_file import listed, names_in
from weightsmith.checkpoint.table import Problem
from weightsmith.checkpoint.training.names import MODEL_PARALLEL, STEP
from weightsmith.checkpoint.training.ways_out import MERGE_SLICES
from weightsmith.checkpoint.unfinished import refuse_unfinished
from weightsmith.errors import MissingInput, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from weightsmith.checkpoint.index import WeightIndex
    from weightsmith.checkpoint.place import Place

_SHARD = re.compile(r"(.+?)-([0-9]{5,6})-of-([0-9]{5,6})(\.[\w.]+)")
WHOLE_STEP = f"name the folder above, with all ranks of the step, or {MERGE_SLICES}"
ONE_SLICE, _SEVERAL = "one-of-several-slices", 2
_MAIN = ("model", "pytorch_model")
METADATA_FILE, _DISTRIBUTED = ".metadata", ".distcp"
_TORCH_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
# Formats of other engines, for the line that says what a folder without weights holds instead.
_FOREIGN = {
    ".gguf": "GGUF",
    ".ggml": "GGML",
    ".onnx": "ONNX",
    ".h5": "Keras/TensorFlow",
    ".msgpack": "Flax",
    ".distcp": "torch distributed",
    ".npz": "numpy",
    ".mlmodel": "CoreML",
}


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weights of a folder: files in name order, with the index that names them. problems: what was left aside."""

    index: WeightIndex | None
    files: tuple[str, ...]
    problems: tuple[Problem, ...]


def choose_weights(folder: Place) -> WeightFiles:
    """The files that transformers loads; where it finds none of its names, those that look like one model.

    The order of the latter: safetensors before torch files; an index; a complete numbered set; what is left, adapters
    and `consolidated*` (Mistral's and Meta's own layout) last. Where vLLM loads other files, a problem says so.
    Where there are none of these, one GGUF model in several files is read.
    Raises MissingInput (unreadable, incomplete set), UnknownFormat (no weights; says what is there), or what
    `read_index` raises.
    """
    everything = listed(folder)
    refuse_unfinished(folder, everything)
    names = _in_sight(everything)
    candidates = _candidates(names)
    usual = of_transformers(folder, names)
    if not candidates and usual is None:
        refuse_slices(folder, names)
        models = {files for name in names if (files := split_gguf(names, name))}
        if len(models) == 1:
            return WeightFiles(None, models.pop(), ())
        inner = _subfolder(folder)
        gguf = next((name for name in names if name.lower().endswith(".gguf")), None)
        usually = (
            f"name the file: {quoted(gguf)}" if gguf else "name a folder with *.safetensors or *.bin files"
        )
        way_out = f"name the folder {inner}" if inner else usually
        raise UnknownFormat(folder, _contents(names), way_out)
    index, files = _usual(folder, names, usual) if usual else _unusual(folder, names, candidates)
    weights = [name for name in names if not is_trainer_state(name)]
    differs = difference(folder, weights, files, index)
    problems = (differs,) if differs else tuple(_left_aside(folder, names, index, files))
    return WeightFiles(index, files, problems)


def _in_sight(names: Iterable[str]) -> list[str]:
    """The names that a loader's patterns find: none that begins with a dot, as what macOS adds to each file does."""
    return [name for name in names if not name.startswith(".")]


def _candidates(names: list[str]) -> list[str]:
    """All that may be weights: safetensors, else torch files of the first suffix that there are any of."""
    for suffix in (".safetensors", *_TORCH_SUFFIXES):
        found = [name for name in names if name.endswith(suffix) and not is_trainer_state(name)]
        if found:
            return found
    return []


def _usual(folder: Place, names: list[str], usual: str) -> tuple[WeightIndex | None, tuple[str, ...]]:
    """What the one name stands for. An index beside a single file only counts where it names no other."""
    if usual.endswith(".index.json"):
        index = read_index(folder / usual)
        return index, index.files
    beside = USUAL[USUAL.index(usual) + 1] if usual in USUAL else ""
    if beside in names:
        index = read_index(folder / beside)
        if index.files == (usual,):
            return index, index.files
    return None, (usual,)


def _unusual(
    folder: Place, names: list[str], candidates: list[str]
) -> tuple[WeightIndex | None, tuple[str, ...]]:
    name = _other_index(names, "safetensors" if candidates[0].endswith(".safetensors") else "bin")
    if name is None:
        return None, _preferred(folder, candidates)
    index = read_index(folder / name)
    return index, index.files


def _left_aside(
    folder: Place, names: list[str], index: WeightIndex | None, files: tuple[str, ...]
) -> list[Problem]:
    """Other weights that nobody loads."""
    torch = [name for name in names if name.endswith(_TORCH_SUFFIXES) and not is_trainer_state(name)]
    problems = []
    if torch and files[0].endswith(".safetensors"):
        text = f"{folder}: holds safetensors and torch files; the safetensors were read, not {sample(torch)}"
        problems.append(Problem("two-formats", text))
    if index is not None:
        return [*problems, *unlisted(folder, index.name, index.files)]
    rest = [name for name in _candidates(names) if name not in files]
    if rest:
        text = f"{folder}: beside {sample(list(files))} lie {sample(rest)}, which were not read"
        problems.append(Problem("other-weights", text))
    return problems


def refuse_slices(folder: Place, names: list[str]) -> None:
    """Raises MissingInput where the folders of several ranks lie in a folder, or in one of its steps."""
    steps = [name for name in names if STEP.fullmatch(name)]
    for inside, ranks in [
        ("", _ranks(names)),
        *((f"{step}/", _ranks(names_in(folder / step))) for step in steps),
    ]:
        if len(ranks) >= _SEVERAL:
            shown = sample([f"{inside}{rank}" for rank in ranks])
            fact = f"holds slices of a model: one for each of {len(ranks)} model-parallel ranks (Megatron: {shown})"
            raise MissingInput(folder, fact, MERGE_SLICES)


def one_slice(path: Place, folder: Place) -> tuple[Problem, ...]:
    """The problem of weights in the folder of one rank of several; none of any other folder."""
    rank = folder.resolve()
    ranks = _ranks(names_in(rank.parent)) if MODEL_PARALLEL.fullmatch(rank.name) else []
    is_first = re.search(r"[1-9]", rank.name) is None
    if not ranks or (is_first and len(ranks) < _SEVERAL):  # one rank alone holds the whole model
        return ()
    text = f"{path}: is the slice of a model that one model-parallel rank held (Megatron: {sample(ranks)})"
    return (Problem(ONE_SLICE, text),)


def _ranks(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if MODEL_PARALLEL.fullmatch(name))


def is_distributed(folder: Place) -> bool:
    """Whether the folder is one of torch's distributed checkpoints, and holds no other weights."""
    names = listed(folder)
    return (
        METADATA_FILE in names
        and any(name.endswith(_DISTRIBUTED) for name in names)
        and not _candidates(names)
    )


def unlisted(folder: Place, index: str, files: tuple[str, ...]) -> list[Problem]:
    """Weights beside an index that it does not name: shards (index-unlisted-file) or other models' files."""
    suffixes = (".safetensors",) if any(name.endswith(".safetensors") for name in files) else _TORCH_SUFFIXES
    named = set(files)
    found = [
        name
        for name in _in_sight(listed(folder))
        if name.endswith(suffixes) and name not in named and not is_trainer_state(name)
    ]
    aside = [name for name in found if _aside(name)]
    shards = [name for name in found if not _aside(name)]
    problems = []
    if shards:
        text = f"{index}: does not name {sample(shards)}, which therefore were not read (nor does vLLM)"
        problems.append(Problem("index-unlisted-file", text, file=index))
    if aside:
        problems.append(Problem("other-weights", f"{folder}: beside the indexed weights lie {sample(aside)}"))
    return problems


def split_gguf(names: Collection[str], name: str) -> tuple[str, ...]:
    """The files of a GGUF model in several, one of which is `name`, in their order; empty where one of them is missing.

    names: of all files beside it.
    """
    part = numbered(name)
    if part is None or part[2] < _SEVERAL or part[2] > len(names) or part[3].lower() != ".gguf":
        return ()
    stem, _, count, suffix = part
    files = tuple(f"{stem}-{n:05d}-of-{count:05d}{suffix}" for n in range(1, count + 1))
    return files if set(files) <= set(names) else ()


def numbered(name: str) -> tuple[str, int, int, str] | None:
    """(stem, number, count, suffix) of `model-00001-of-00003.safetensors`."""
    match = _SHARD.fullmatch(name)
    return (match[1], int(match[2]), int(match[3]), match[4]) if match else None


def _aside(name: str) -> bool:
    """Adapters, and the copy of the weights that Mistral ships in its own layout."""
    return name.startswith(("adapter_", "consolidated"))


def _other_index(names: list[str], kind: str) -> str | None:
    """The one index of this kind under a free name."""
    found = [name for name in names if name.endswith(f".{kind}.index.json")]
    found = [name for name in found if not _aside(name)] or found
    return found[0] if len(found) == 1 else None


def _preferred(folder: Place, candidates: list[str]) -> tuple[str, ...]:
    """The numbered set, or else all that are no adapters; of several sets all, which then must not share names."""
    own = [name for name in candidates if not _aside(name)]
    pool = own or [name for name in candidates if name.startswith("consolidated")] or candidates
    sets: dict[tuple[str, int, str], list[str]] = {}
    for name in pool:
        part = numbered(name)
        if part:
            sets.setdefault((part[0], part[2], part[3]), []).append(name)
    if sets:
        key = next((key for key in sets if key[0] in _MAIN), next(iter(sets)))
        if len(sets) == 1 or key[0] in _MAIN:
            _refuse_incomplete(folder, key, sets[key])
            return tuple(sets[key])
    return tuple(pool)


def _refuse_incomplete(folder: Place, key: tuple[str, int, str], files: list[str]) -> None:
    stem, count, suffix = key
    present = {part[1] for name in files if (part := numbered(name))}
    # Walks the files present, not the count, which a file name could set to a million.
    missing = next((n for n in range(1, len(present) + 2) if n <= count and n not in present), None)
    if missing is not None:
        name = f"{stem}-{missing:05d}-of-{count:05d}{suffix}"
        raise MissingInput(
            folder,
            f"has {len(present)} of {count} shards; {quoted(name)} is missing",
            "download the missing shards",
        )


def _subfolder(folder: Place) -> str | None:
    """A folder one level down that holds weights: a diffusion pipeline's part, a hub cache's snapshot, a training
    run's last epoch."""
    folders = folders_in(folder)
    for name in [*folders, *(f"snapshots/{name}" for name in folders_in(folder / "snapshots"))]:
        if any(file.endswith((".safetensors", *_TORCH_SUFFIXES)) for file in names_in(folder / name)):
            return quoted(name)
    epochs = [n for n in folders if any(file.endswith(_DISTRIBUTED) for file in names_in(folder / n))]
    return quoted(max(epochs, key=_by_number)) if epochs else None


def _by_number(name: str) -> tuple[int, str]:
    """Orders fsdp2_epoch_9 before fsdp2_epoch_10."""
    digits = re.search(r"([0-9]{1,9})[^0-9]*$", name)
    return (int(digits[1]) if digits else -1, name)


def _contents(names: list[str]) -> str:
    if not names:
        return "is an empty folder"
    foreign = sorted(
        {what for name in names for suffix, what in _FOREIGN.items() if name.lower().endswith(suffix)}
    )
    if foreign:
        return f"holds no safetensors or torch weights, only {' and '.join(foreign)} files"
    training = [name for name in names if is_trainer_state(name)]
    if training:
        return f"holds no weights, only a trainer's state ({sample(training)})"
    return f"holds no weights; it has {sample(names, 5)}"
