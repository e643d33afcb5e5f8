"""Which weights of a folder transformers and vLLM load: their rules, which are not the same.

Sources: transformers 5.19, modeling_utils.py (`_get_resolved_checkpoint_files`); vLLM 0.32,
model_executor/model_loader/default_loader.py (`_prepare_weights`) and weight_utils.py
(`filter_duplicate_safetensors_files`, `filter_files_not_needed_for_inference`).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from weightsmith.checkpoint.config_file import CONFIG, setting_in
from weightsmith.checkpoint.index import read_index
from weightsmith.checkpoint.names import quoted, sample
from weightsmith.checkpoint.table import Problem
from weightsmith.errors import MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.checkpoint.index import WeightIndex
    from weightsmith.checkpoint.place import Place

# transformers takes the first of these that is there.
USUAL = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# What vLLM looks for, in this order, and the index that it then goes by.
_VLLM = (
    ("consolidated*.safetensors", "consolidated.safetensors.index.json"),
    ("*.safetensors", "model.safetensors.index.json"),
    ("*.bin", None),
    ("*.pt", None),
)
_VLLM_IGNORES = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")


def of_transformers(folder: Place, names: Sequence[str]) -> str | None:
    """The weights file or index that transformers loads; None where it finds none. Raises MissingInput."""
    return _named_by_config(folder, names) or next((name for name in USUAL if name in names), None)


_NAMES_THEM = "transformers_weights"


def _named_by_config(folder: Place, names: Sequence[str]) -> str | None:
    """What config.json says under `transformers_weights`. A config that cannot be read is reported by others."""
    try:
        named = setting_in(folder / CONFIG, _NAMES_THEM) if CONFIG in names else None
    except WeightsmithError:
        return None
    if named is None:
        return None
    if not (isinstance(named, str) and named.endswith((".safetensors", ".safetensors.index.json"))):
        raise MissingInput(
            folder / CONFIG,
            f"names {quoted(named)} as transformers_weights, which is no safetensors file or index",
            "mend the field, or name the weights file yourself",
        )
    if named not in names:
        raise MissingInput(
            folder / CONFIG,
            f"names {quoted(named)} as transformers_weights, which is no file of its folder",
            "download it, or name the weights file yourself",
        )
    return named


def _of_vllm(folder: Place, names: Sequence[str], known: WeightIndex | None) -> tuple[str, ...]:
    """The files that vLLM loads. names: without those that begin with a dot. known: an index that has been read."""
    for pattern, index in _VLLM:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            continue
        if index is not None and index in names:
            read = known if known is not None and known.name == index else read_index(folder / index)
            listed = set(read.files)
            found = [name for name in found if name in listed]
        return tuple(name for name in found if not name.endswith(_VLLM_IGNORES))
    return ()


def difference(
    folder: Place, names: Sequence[str], read: Sequence[str], index: WeightIndex | None
) -> Problem | None:
    """`loaders-differ` where vLLM loads other files than were read, which are those of transformers if it finds any.

    names: without those that begin with a dot. index: the one that names what was read.
    """
    loaded, mine = _of_vllm(folder, names, index), set(read)
    if not loaded or mine == set(loaded):
        return None
    others = [name for name in loaded if name not in mine]
    theirs = f"loads {sample(others)}, too" if mine < set(loaded) else f"loads {sample(list(loaded))} instead"
    like = ", as transformers does" if of_transformers(folder, names) else ""
    text = f"{folder}: {sample(list(read))} was read{like}; vLLM {theirs}: move aside what is not meant"
    return Problem("loaders-differ", text)
